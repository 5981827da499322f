"""The fused detector: a case worked out by hand, held-out scores by another path, and what a score means."""

from typing import Any

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf, ShrunkCovariance
from sklearn.decomposition import TruncatedSVD

from masd.detection.features.views import VIEWS, Views
from masd.detection.fused.detector import (
    WEIGHTS,
    FusedDetector,
    MemberName,
    minimum,
    spread_over_windows,
    weighted,
)
from masd.detection.fused.detector import fit_fused as fit_with_members
from masd.detection.fused.frame_residuals import FrameResiduals
from masd.detection.fused.whitened import WhitenedNeighbours

FOLDS = 5
Frames = list[np.ndarray]


def fit_fused(*arguments: Any, **named: Any) -> tuple[FusedDetector, np.ndarray]:
    """The detector and each clip's held-out score."""
    fitted, held_out = fit_with_members(*arguments, **named)
    return fitted, minimum(weighted(held_out))[0]


def score_with_windows(
    detector: FusedDetector, frames: Frames, views: Views, spans: list[np.ndarray], window_views: Views
) -> list[tuple[float, bool, np.ndarray]]:
    return spread_over_windows(weighted(detector.members_with_windows(frames, views, spans, window_views)), spans)


def machine(source: int = 60, target: int = 6, seed: int = 0, shift: float = 0.0) -> tuple[Frames, Views, np.ndarray]:
    """Frames and views of normal clips, and which are target: one operating condition apart; ``shift`` is off both of
    them.

    Each view has 24 coordinates, of which 8 carry most of the variation; each clip 20 frames of 12 bands, of which 3
    do.
    """
    rng = np.random.default_rng(seed)
    is_target = np.repeat([False, True], [source, target])
    views: Views = {}
    for number, name in enumerate(VIEWS):
        of_machine = np.random.default_rng(1000 + number)
        axes, condition, fault = of_machine.normal(size=(8, 24)), of_machine.normal(size=24), of_machine.normal(size=24)
        points = rng.normal(size=(source + target, 8)) @ axes + 0.5 * rng.normal(size=(source + target, 24))
        views[name] = (points + 3.0 * is_target[:, None] * condition + shift * fault).astype(np.float32)
    of_machine = np.random.default_rng(999)
    axes, condition, fault = of_machine.normal(size=(3, 12)), of_machine.normal(size=12), of_machine.normal(size=12)
    frames = rng.normal(size=(source + target, 20, 3)) @ axes + 0.5 * rng.normal(size=(source + target, 20, 12))
    frames += 3.0 * is_target[:, None, None] * condition + shift * fault
    return list(frames.astype(np.float32)), views, is_target


def rows(clips: tuple[Frames, Views, np.ndarray], picked: np.ndarray) -> tuple[Frames, Views]:
    frames, views, _ = clips
    return [frames[row] for row in picked], {name: view[picked] for name, view in views.items()}


def only(views: dict[MemberName, list[float]]) -> tuple[Frames, Views]:
    """Views of one coordinate, and frames of one band that are all the same."""
    frames = [np.full((7, 1), value, np.float32) for value in views["frames"]]
    return frames, {name: np.array(views[name], np.float32)[:, None] for name in VIEWS}


def test_weights_are_shares_of_all_members() -> None:
    assert set(WEIGHTS) == {"frames", *VIEWS}
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


class TestByHand:
    """Clips at 0 (source) and at 10 (target) on a line, no whitening."""

    @pytest.fixture
    def detector(self) -> FusedDetector:
        one = np.ones((1, 1), np.float32)
        line = WhitenedNeighbours(centre=0 * one[0], spread=one[0], whitening=one, source=0 * one, target=10 * one)
        frames = FrameResiduals(
            mean=0 * one[0],
            axes=np.zeros((5, 1, 1), np.float32),
            centres=np.array([[0.0], [10.0]], np.float32),
            precisions=np.ones((2, 1, 1), np.float32),
        )
        typical: dict[MemberName, np.ndarray] = {
            "frames": np.array([0.5, 4.0]),
            "band-mean": np.array([1.0, 2.0]),
            "band-peak": np.array([0.5, 1.0]),
            "band-change": np.array([2.0, 2.0]),
            "modulation": np.array([1.0, 1.0]),
            "latent": np.array([4.0, 8.0]),
        }
        return FusedDetector(frames, dict.fromkeys(VIEWS, line), typical)

    def test_the_smaller_domain_counts(self, detector: FusedDetector) -> None:
        clips = only(
            {
                "frames": [1, 6],
                "band-mean": [2, 8],
                "band-peak": [4, 6],
                "band-change": [2, 2],
                "modulation": [3, 9],
                "latent": [8, 8],
            }
        )
        scores, from_target = detector.score_views(*clips)
        # to the source 1/0.5, 2/1, 4/0.5, 2/2, 3/1, 8/4 = 2, 2, 8, 1, 3, 2
        # to the target 9/4, 8/2, 6/1, 8/2, 7/1, 2/8
        # the other: to the source 6/0.5, 8/1, 6/0.5, 2/2, 9/1, 8/4
        # to the target 4/4, 2/2, 4/1, 8/2, 1/1, 2/8 = 1, 1, 4, 4, 1, 1/4
        assert scores[0] == pytest.approx(2**0.4 * 2**0.2 * 8**0.05 * 1**0.05 * 3**0.25 * 2**0.05)
        assert scores[1] == pytest.approx(1**0.4 * 1**0.2 * 4**0.05 * 4**0.05 * 1**0.25 * 0.25**0.05)
        assert from_target.tolist() == [False, True]

    def test_twice_as_far_in_every_view_is_twice_the_score(self, detector: FusedDetector) -> None:
        near, far = detector.score_views(*only({name: [-1.5, -3.0] for name in WEIGHTS}))[0]
        assert far == pytest.approx(2 * near)

    def test_a_copy_of_a_training_clip_scores_next_to_nothing_but_not_zero(self, detector: FusedDetector) -> None:
        (score,), _ = detector.score_views(*only({name: [0.0] for name in WEIGHTS}))
        assert 0 < score <= 1e-5

    def test_one_view_alone_that_is_a_copy_does_not_hide_the_others(self, detector: FusedDetector) -> None:
        clips = only({name: [0.0] if name == "band-peak" else [-100.0] for name in WEIGHTS})
        assert detector.score_views(*clips)[0][0] > 1.0


class TestHeldOut:
    def test_each_clip_against_scikit_learn_fitted_without_it(self) -> None:
        """As many folds as clips leave them out one by one."""
        frames, views, is_target = machine(9, 0)
        detector, held_out = fit_fused(frames, views, is_target, folds=9, seed=0)
        distances = self.of_frames(frames)
        assert detector.typical["frames"][0] == pytest.approx(np.prod(distances) ** (1 / 9), rel=1e-3)
        expected = WEIGHTS["frames"] * np.log(distances / np.prod(distances) ** (1 / 9))
        for name in VIEWS:
            points, distances = views[name].astype(np.float64), np.empty(9)
            for clip in range(9):
                rest = np.delete(points, clip, axis=0)
                mean, deviation = rest.mean(axis=0), rest.std(axis=0)
                precision = LedoitWolf().fit((rest - mean) / deviation).precision_
                offsets = (points[clip] - rest) / deviation
                distances[clip] = np.sqrt(np.einsum("nd,de,ne->n", offsets, precision, offsets).min())
            typical = np.prod(distances) ** (1 / 9)
            assert detector.typical[name][0] == pytest.approx(typical, rel=1e-3)
            expected += WEIGHTS[name] * np.log(distances / typical)
        np.testing.assert_allclose(held_out, np.exp(expected), rtol=1e-3)

    def of_frames(self, frames: Frames) -> np.ndarray:
        """Runs of five frames, less sixteen principal axes by scikit-learn, against the other clips' covariance; the
        nine tenths that are least unusual.
        """
        runs = [np.stack([clip[t : t + 5].ravel() for t in range(len(clip) - 4)]).astype(np.float64) for clip in frames]
        mean = np.tile(np.concatenate(frames).mean(axis=0, dtype=np.float64), 5)
        centred = np.concatenate(runs) - mean
        axes = TruncatedSVD(16, algorithm="arpack").fit(centred).components_
        residuals = [((run - mean) - (run - mean) @ axes.T @ axes).reshape(-1, 12) for run in runs]
        distances = np.empty(len(frames))
        for clip, residual in enumerate(residuals):
            rest = np.concatenate([other for number, other in enumerate(residuals) if number != clip])
            shrunk = ShrunkCovariance(shrinkage=0.03).fit(rest)
            of_runs = np.sort(shrunk.mahalanobis(residual).reshape(-1, 5).mean(axis=1))
            distances[clip] = np.sqrt(of_runs[: int(0.9 * len(of_runs))].mean())
        return distances

    @pytest.mark.parametrize("planted", [3, -2], ids=["source", "target"])
    def test_they_do_not_use_the_clip(self, planted: int) -> None:
        """In the bank a clip is its own nearest neighbour; held out, a far one stands out from all others."""
        frames, views, is_target = machine()
        for view in views.values():
            view[planted] += 50.0
        detector, held_out = fit_fused(frames, views, is_target, FOLDS, seed=0)
        itself = rows((frames, views, is_target), np.array([planted]))
        assert detector.score_views(*itself)[0][0] < 0.1
        assert np.argmax(held_out) == planted % len(held_out)
        assert held_out[planted] > 5 * np.median(held_out)

    def test_the_same_seed_gives_the_same_result_and_another_other_folds(self) -> None:
        (one, first), (two, again), (_, other) = (fit_fused(*machine(), FOLDS, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        for name, tensor in one.tensors("one").items():
            np.testing.assert_array_equal(tensor, two.tensors("one")[name])
        assert (first != other).any()
        np.testing.assert_allclose(other, first, rtol=0.5)


class TestWhatAScoreMeans:
    """About 1: as far from the known clips as these are from each other. More: so many times as far."""

    @pytest.mark.parametrize("target", [60, 6])
    def test_normal_clips_of_both_domains_score_about_one(self, target: int) -> None:
        frames, views, is_target = machine(60, target)
        detector, held_out = fit_fused(frames, views, is_target, FOLDS, seed=0)
        *fresh, fresh_is_target = machine(100, 100, seed=1)
        scores, from_target = detector.score_views(*fresh)
        for found, domain in ((held_out, is_target), (scores, fresh_is_target)):
            for of_domain in (~domain, domain):
                assert 1 / 1.5 < np.median(found[of_domain]) < 1.5
        assert (from_target == fresh_is_target).mean() > 0.9

    @pytest.mark.parametrize("target", [60, 6])
    def test_the_further_off_the_higher(self, target: int) -> None:
        detector, held_out = fit_fused(*machine(60, target), FOLDS, seed=0)
        medians = []
        for shift in (0.0, 1.0, 2.0, 4.0):
            scores, _ = detector.score_views(*machine(100, 100, seed=1, shift=shift)[:2])
            medians.append((np.median(scores[:100]), np.median(scores[100:])))
        for of_domain in zip(*medians, strict=True):
            assert list(of_domain) == sorted(of_domain)
            assert of_domain[-1] > 2 * of_domain[0]
            assert of_domain[-1] > held_out.max()

    def test_a_loud_view_weighs_no_more_than_its_share(self) -> None:
        """Views are compared with their own typical distance: their units do not matter."""
        frames, views, is_target = machine()
        fresh_frames, fresh, _ = machine(20, 20, seed=1, shift=2.0)
        usual, _ = fit_fused(frames, views, is_target, FOLDS, seed=0)
        louder, _ = fit_fused(frames, views | {"latent": 1000 * views["latent"]}, is_target, FOLDS, seed=0)
        scores = louder.score_views(fresh_frames, fresh | {"latent": 1000 * fresh["latent"]})[0]
        np.testing.assert_allclose(scores, usual.score_views(fresh_frames, fresh)[0], rtol=1e-3)


class TestFewTargetClips:
    def test_none_is_never_the_nearer_domain(self) -> None:
        detector, held_out = fit_fused(*machine(60, 0), FOLDS, seed=0)
        scores, from_target = detector.score_views(*machine(20, 20, seed=1)[:2])
        assert not from_target.any()
        assert np.isfinite(scores).all() and np.isfinite(held_out).all()
        assert np.median(held_out) == pytest.approx(1.0, rel=0.5)

    def test_one_borrows_the_typical_distance_of_the_source(self) -> None:
        detector, held_out = fit_fused(*machine(60, 1), FOLDS, seed=0)
        for typical in detector.typical.values():
            assert typical[0] == typical[1] > 0
        assert np.isfinite(held_out).all()
        scores, _ = detector.score_views(*machine(0, 20, seed=1)[:2])
        strange, _ = detector.score_views(*machine(0, 20, seed=1, shift=3.0)[:2])
        assert np.median(scores) < 2 < np.median(strange)

    @pytest.mark.parametrize("target", [2, 3, 4, 7])
    def test_any_number_gives_finite_scores(self, target: int) -> None:
        detector, held_out = fit_fused(*machine(12, target), FOLDS, seed=0)
        scores, _ = detector.score_views(*machine(20, 20, seed=1)[:2])
        assert held_out.shape == (12 + target,)
        assert np.isfinite(held_out).all() and np.isfinite(scores).all()


class TestDegenerate:
    def test_constant_coordinates(self) -> None:
        """Bands above the reach of a recording are silent throughout."""
        frames, views, is_target = machine()
        fresh_frames, fresh, _ = machine(20, 20, seed=1)
        for name in VIEWS:
            views[name][:, 3:9] = fresh[name][:, 3:9] = -4.0
        for clip in frames + fresh_frames:
            clip[:, 3:9] = -4.0
        detector, held_out = fit_fused(frames, views, is_target, FOLDS, seed=0)
        scores = detector.score_views(fresh_frames, fresh)[0]
        assert 1 / 1.5 < np.median(held_out) < 1.5 and 1 / 1.5 < np.median(scores) < 1.5
        for name in VIEWS:
            fresh[name][:, 3:9] += 1.0
        assert (detector.score_views(fresh_frames, fresh)[0] > scores).all()
        for clip in fresh_frames:
            clip[:, 3:9] += 1.0
        assert (detector.score_views(fresh_frames, fresh)[0] > 2 * scores).all()
        assert np.isfinite(detector.score_views(fresh_frames, fresh)[0]).all()

    def test_identical_clips(self) -> None:
        frames, views, _ = machine(1, 0)
        same = {name: np.repeat(view, 20, axis=0) for name, view in views.items()}
        detector, held_out = fit_fused(frames * 20, same, np.arange(20) >= 15, FOLDS, seed=0)
        assert np.isfinite(held_out).all()
        scores, _ = detector.score_views(*machine(3, 3, seed=1)[:2])
        assert np.isfinite(scores).all() and (scores > held_out.max()).all()

    def test_clips_that_are_there_twice(self) -> None:
        """Half of the held-out distances are 0: they do not make everything else infinitely far."""
        frames, views, is_target = machine(20, 6)
        twice = {name: np.concatenate([view, view[:15]]) for name, view in views.items()}
        flags = np.concatenate([is_target, is_target[:15]])
        detector, held_out = fit_fused(frames + frames[:15], twice, flags, FOLDS, seed=0)
        scores = detector.score_views(*machine(50, 50, seed=1)[:2])[0]
        assert np.isfinite(held_out).all()
        assert 0.5 < np.median(scores) < 2.0


def with_windows(clips: int, windows: int, seed: int, target: int = 0) -> tuple[Frames, Views, list[np.ndarray], Views]:
    """Clips of ``windows`` windows each, whose frames do not overlap, as arguments of ``score_with_windows``."""
    frames, views, _ = machine(clips * (windows - target), clips * target, seed)
    whole = [np.concatenate(frames[start : start + windows]) for start in range(0, clips * windows, windows)]
    spans = [np.arange(windows)[:, None] * 20 + np.array([0, 20])] * clips
    return whole, machine(clips, 0, seed + 1)[1], spans, views


class TestWindows:
    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls) -> FusedDetector:
        return fit_fused(*machine(), FOLDS, seed=0)[0]

    @pytest.mark.parametrize("target", [False, True])
    def test_their_geometric_mean_is_the_score_of_the_clip(self, detector: FusedDetector, target: bool) -> None:
        frames, _, spans, windows = with_windows(1, 9, 2, 9 * target)
        views = machine(1 - target, int(target), seed=3)[1]
        ((score, from_target, of_windows),) = score_with_windows(detector, frames, views, spans, windows)
        assert from_target is target
        assert score == pytest.approx(detector.score_views(frames, views)[0][0], rel=1e-6)
        assert of_windows.shape == (9,) and (of_windows > 0).all()
        assert np.prod(of_windows) ** (1 / 9) == pytest.approx(score)
        assert len(set(of_windows.tolist())) == 9

    def test_the_changed_window_is_the_largest(self, detector: FusedDetector) -> None:
        for changed in (0, 4, 8):
            frames, views, spans, windows = with_windows(1, 9, 2)
            (burst,), other, _ = machine(1, 0, seed=3, shift=4.0)
            frames[0][20 * changed : 20 * changed + 20] = burst
            for name in VIEWS:
                windows[name][changed] = other[name]
            ((_, _, of_windows),) = score_with_windows(detector, frames, views, spans, windows)
            assert np.argmax(of_windows) == changed
            assert of_windows[changed] > 2 * np.median(of_windows)

    def test_frames_alone_tell_the_window(self, detector: FusedDetector) -> None:
        frames, views, spans, windows = with_windows(1, 9, 2)
        frames[0][80:100] += machine(1, 0, seed=3, shift=4.0)[0][0]
        ((_, _, of_windows),) = score_with_windows(detector, frames, views, spans, windows)
        assert np.argmax(of_windows) == 4

    def test_they_are_compared_with_the_domain_of_the_clip(self, detector: FusedDetector) -> None:
        """One window sounds of the target: in a source clip it is the odd one, in a target clip the usual one."""
        frames, _, spans, windows = with_windows(1, 5, 2, target=1)
        for of_clip, place in ((machine(1, 0, seed=3)[1], np.argmax), (machine(0, 1, seed=3)[1], np.argmin)):
            heard = [frames[0] if place is np.argmax else np.concatenate([frames[0], *machine(0, 20, seed=4)[0]])]
            ((_, from_target, of_windows),) = score_with_windows(detector, heard, of_clip, spans, windows)
            assert from_target is (place is np.argmin)
            assert place(of_windows) == 4

    def test_clips_together_are_each_alone(self, detector: FusedDetector) -> None:
        frames, views, spans, windows = with_windows(3, 4, 4)
        spans, counts = [spans[0], spans[1][:1], spans[2][:2]], [4, 1, 2]
        of_clips = [range(0, 4), range(4, 5), range(8, 10)]
        picked = {name: view[[row for rows in of_clips for row in rows]] for name, view in windows.items()}
        together = score_with_windows(detector, frames, views, spans, picked)
        starts = np.cumsum([0, *counts])
        for number, (score, from_target, of_windows) in enumerate(together):
            clip = {name: view[number : number + 1] for name, view in views.items()}
            own = {name: view[starts[number] : starts[number + 1]] for name, view in picked.items()}
            ((alone, target, expected),) = score_with_windows(
                detector, frames[number : number + 1], clip, spans[number : number + 1], own
            )
            assert score == pytest.approx(alone, rel=1e-6) and from_target == target
            np.testing.assert_allclose(of_windows, expected, rtol=1e-6)
