"""The fused detector: a case worked out by hand, held-out scores by another path, and what a score means."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.covariance import LedoitWolf

from masd.detection.fused import FusedDetector, fit_fused
from masd.detection.views import VIEWS, WEIGHTS, ViewName, Views
from masd.detection.whitened import WhitenedNeighbours

FOLDS = 5


def machine(source: int = 60, target: int = 6, seed: int = 0, shift: float = 0.0) -> tuple[Views, np.ndarray]:
    """Views of normal clips, and which are target: one operating condition apart; ``shift`` is off both of them.

    Each view has 24 coordinates, of which 8 carry most of the variation.
    """
    rng = np.random.default_rng(seed)
    is_target = np.repeat([False, True], [source, target])
    views: Views = {}
    for number, name in enumerate(VIEWS):
        of_machine = np.random.default_rng(1000 + number)
        axes, condition, fault = of_machine.normal(size=(8, 24)), of_machine.normal(size=24), of_machine.normal(size=24)
        points = rng.normal(size=(source + target, 8)) @ axes + 0.5 * rng.normal(size=(source + target, 24))
        views[name] = (points + 3.0 * is_target[:, None] * condition + shift * fault).astype(np.float32)
    return views, is_target


def rows(views: Views, picked: np.ndarray) -> Views:
    return {name: view[picked] for name, view in views.items()}


def only(views: dict[ViewName, list[float]]) -> Views:
    """Views of one coordinate."""
    return {name: np.array(values, np.float32)[:, None] for name, values in views.items()}


class TestByHand:
    """Clips at 0 (source) and at 10 (target) on a line, no whitening."""

    @pytest.fixture
    def detector(self) -> FusedDetector:
        one = np.ones((1, 1), np.float32)
        line = WhitenedNeighbours(centre=0 * one[0], spread=one[0], whitening=one, source=0 * one, target=10 * one)
        typical = {
            "band-mean": np.array([1.0, 2.0]),
            "band-peak": np.array([0.5, 1.0]),
            "band-change": np.array([2.0, 2.0]),
            "modulation": np.array([1.0, 1.0]),
            "latent": np.array([4.0, 8.0]),
        }
        return FusedDetector(dict.fromkeys(VIEWS, line), {name: typical[name] for name in VIEWS})

    def test_the_smaller_domain_counts(self, detector: FusedDetector) -> None:
        clips = only(
            {"band-mean": [2, 8], "band-peak": [4, 6], "band-change": [2, 2], "modulation": [3, 9], "latent": [8, 8]}
        )
        scores, from_target = detector.score(clips)
        # to the source 2/1, 4/0.5, 2/2, 3/1, 8/4 = 2, 8, 1, 3, 2 - to the target 8/2, 6/1, 8/2, 7/1, 2/8
        # to the source 8/1, 6/0.5, 2/2, 9/1, 8/4 - to the target 2/2, 4/1, 8/2, 1/1, 2/8 = 1, 4, 4, 1, 1/4
        assert scores[0] == pytest.approx(2**0.3 * 8**0.15 * 1**0.15 * 3**0.25 * 2**0.15)
        assert scores[1] == pytest.approx(1**0.3 * 4**0.15 * 4**0.15 * 1**0.25 * 0.25**0.15)
        assert from_target.tolist() == [False, True]

    def test_twice_as_far_in_every_view_is_twice_the_score(self, detector: FusedDetector) -> None:
        near, far = detector.score(only({name: [-1.5, -3.0] for name in VIEWS}))[0]
        assert far == pytest.approx(2 * near)

    def test_a_copy_of_a_training_clip_scores_next_to_nothing_but_not_zero(self, detector: FusedDetector) -> None:
        (score,), _ = detector.score(only({name: [0.0] for name in VIEWS}))
        assert 0 < score <= 1e-5

    def test_one_view_alone_that_is_a_copy_does_not_hide_the_others(self, detector: FusedDetector) -> None:
        clips = only({name: [0.0] if name == "band-peak" else [-100.0] for name in VIEWS})
        assert detector.score(clips)[0][0] > 1.0


class TestHeldOut:
    def test_each_clip_against_scikit_learn_fitted_without_it(self) -> None:
        """As many folds as clips leave them out one by one."""
        views, is_target = machine(9, 0)
        detector, held_out = fit_fused(views, is_target, folds=9, seed=0)
        expected = np.zeros(9)
        for name, weight in WEIGHTS.items():
            points, distances = views[name].astype(np.float64), np.empty(9)
            for clip in range(9):
                rest = np.delete(points, clip, axis=0)
                mean, deviation = rest.mean(axis=0), rest.std(axis=0)
                precision = LedoitWolf().fit((rest - mean) / deviation).precision_
                offsets = (points[clip] - rest) / deviation
                distances[clip] = np.sqrt(np.einsum("nd,de,ne->n", offsets, precision, offsets).min())
            typical = np.prod(distances) ** (1 / 9)
            assert detector.typical[name][0] == pytest.approx(typical, rel=1e-3)
            expected += weight * np.log(distances / typical)
        np.testing.assert_allclose(held_out, np.exp(expected), rtol=1e-3)

    @pytest.mark.parametrize("planted", [3, -2], ids=["source", "target"])
    def test_they_do_not_use_the_clip(self, planted: int) -> None:
        """In the bank a clip is its own nearest neighbour; held out, a far one stands out from all others."""
        views, is_target = machine()
        for view in views.values():
            view[planted] += 50.0
        detector, held_out = fit_fused(views, is_target, FOLDS, seed=0)
        itself = rows(views, np.array([planted]))
        assert detector.score(itself)[0][0] < 0.1
        assert np.argmax(held_out) == planted % len(held_out)
        assert held_out[planted] > 5 * np.median(held_out)

    def test_the_same_seed_gives_the_same_result_and_another_other_folds(self) -> None:
        views, is_target = machine()
        (one, first), (two, again), (_, other) = (fit_fused(views, is_target, FOLDS, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        for name, tensor in one.tensors().items():
            np.testing.assert_array_equal(tensor, two.tensors()[name])
        assert (first != other).any()
        np.testing.assert_allclose(other, first, rtol=0.5)


class TestWhatAScoreMeans:
    """About 1: as far from the known clips as these are from each other. More: so many times as far."""

    @pytest.mark.parametrize("target", [60, 6])
    def test_normal_clips_of_both_domains_score_about_one(self, target: int) -> None:
        views, is_target = machine(60, target)
        detector, held_out = fit_fused(views, is_target, FOLDS, seed=0)
        fresh, fresh_is_target = machine(100, 100, seed=1)
        scores, from_target = detector.score(fresh)
        for found, domain in ((held_out, is_target), (scores, fresh_is_target)):
            for of_domain in (~domain, domain):
                assert 1 / 1.5 < np.median(found[of_domain]) < 1.5
        assert (from_target == fresh_is_target).mean() > 0.9

    @pytest.mark.parametrize("target", [60, 6])
    def test_the_further_off_the_higher(self, target: int) -> None:
        detector, held_out = fit_fused(*machine(60, target), FOLDS, seed=0)
        medians = []
        for shift in (0.0, 1.0, 2.0, 4.0):
            scores, _ = detector.score(machine(100, 100, seed=1, shift=shift)[0])
            medians.append((np.median(scores[:100]), np.median(scores[100:])))
        for of_domain in zip(*medians, strict=True):
            assert list(of_domain) == sorted(of_domain)
            assert of_domain[-1] > 2 * of_domain[0]
            assert of_domain[-1] > held_out.max()

    def test_a_loud_view_weighs_no_more_than_its_share(self) -> None:
        """Views are compared with their own typical distance: their units do not matter."""
        views, is_target = machine()
        fresh, _ = machine(20, 20, seed=1, shift=2.0)
        usual, _ = fit_fused(views, is_target, FOLDS, seed=0)
        louder, _ = fit_fused(views | {"latent": 1000 * views["latent"]}, is_target, FOLDS, seed=0)
        scores = louder.score(fresh | {"latent": 1000 * fresh["latent"]})[0]
        np.testing.assert_allclose(scores, usual.score(fresh)[0], rtol=1e-3)


class TestFewTargetClips:
    def test_none_is_never_the_nearer_domain(self) -> None:
        views, is_target = machine(60, 0)
        detector, held_out = fit_fused(views, is_target, FOLDS, seed=0)
        scores, from_target = detector.score(machine(20, 20, seed=1)[0])
        assert not from_target.any()
        assert np.isfinite(scores).all() and np.isfinite(held_out).all()
        assert np.median(held_out) == pytest.approx(1.0, rel=0.5)

    def test_one_borrows_the_typical_distance_of_the_source(self) -> None:
        views, is_target = machine(60, 1)
        detector, held_out = fit_fused(views, is_target, FOLDS, seed=0)
        for typical in detector.typical.values():
            assert typical[0] == typical[1] > 0
        assert np.isfinite(held_out).all()
        near = rows(machine(0, 20, seed=1)[0], np.arange(20))
        assert detector.score(near)[1].mean() > 0.5

    @pytest.mark.parametrize("target", [2, 3, 4, 7])
    def test_any_number_gives_finite_scores(self, target: int) -> None:
        detector, held_out = fit_fused(*machine(12, target), FOLDS, seed=0)
        scores, _ = detector.score(machine(20, 20, seed=1)[0])
        assert held_out.shape == (12 + target,)
        assert np.isfinite(held_out).all() and np.isfinite(scores).all()


class TestDegenerate:
    def test_constant_coordinates(self) -> None:
        """Bands above the reach of a recording are silent throughout."""
        views, is_target = machine()
        fresh = machine(20, 20, seed=1)[0]
        for name in VIEWS:
            views[name][:, 3:9] = fresh[name][:, 3:9] = -4.0
        detector, held_out = fit_fused(views, is_target, FOLDS, seed=0)
        scores = detector.score(fresh)[0]
        assert 1 / 1.5 < np.median(held_out) < 1.5 and 1 / 1.5 < np.median(scores) < 1.5
        for name in VIEWS:
            fresh[name][:, 3:9] += 1.0
        assert (detector.score(fresh)[0] > scores).all()
        assert np.isfinite(detector.score(fresh)[0]).all()

    def test_identical_clips(self) -> None:
        views, _ = machine(1, 0)
        same = {name: np.repeat(view, 20, axis=0) for name, view in views.items()}
        detector, held_out = fit_fused(same, np.arange(20) >= 15, FOLDS, seed=0)
        assert np.isfinite(held_out).all()
        scores, _ = detector.score(machine(3, 3, seed=1)[0])
        assert np.isfinite(scores).all() and (scores > held_out.max()).all()

    def test_clips_that_are_there_twice(self) -> None:
        """Half of the held-out distances are 0: they do not make everything else infinitely far."""
        views, is_target = machine(20, 6)
        twice = {name: np.concatenate([view, view[:15]]) for name, view in views.items()}
        detector, held_out = fit_fused(twice, np.concatenate([is_target, is_target[:15]]), FOLDS, seed=0)
        scores = detector.score(machine(50, 50, seed=1)[0])[0]
        assert np.isfinite(held_out).all()
        assert 0.5 < np.median(scores) < 2.0


class TestWindows:
    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls) -> FusedDetector:
        return fit_fused(*machine(), FOLDS, seed=0)[0]

    @pytest.mark.parametrize("from_target", [False, True])
    def test_their_geometric_mean_is_the_score_of_the_clip(self, detector: FusedDetector, from_target: bool) -> None:
        windows = machine(9, 0, seed=2)[0]
        scores = detector.score_windows(windows, 1.7, from_target)
        assert scores.shape == (9,) and (scores > 0).all()
        assert np.prod(scores) ** (1 / 9) == pytest.approx(1.7)
        assert len(set(scores.tolist())) == 9

    def test_the_changed_window_is_the_largest(self, detector: FusedDetector) -> None:
        windows = machine(9, 0, seed=2)[0]
        for changed in (0, 4, 8):
            burst = {name: view.copy() for name, view in windows.items()}
            for name in VIEWS:
                burst[name][changed] = machine(1, 0, seed=3, shift=4.0)[0][name]
            scores = detector.score_windows(burst, 2.0, from_target=False)
            assert np.argmax(scores) == changed
            assert scores[changed] > 2 * np.median(scores)

    def test_they_are_compared_with_the_domain_of_the_clip(self, detector: FusedDetector) -> None:
        """One window sounds of the target: in a source clip it is the odd one, in a target clip the usual one."""
        source, target = machine(4, 0, seed=2)[0], machine(0, 4, seed=2)[0]
        mixed = {name: np.concatenate([source[name], target[name][:1]]) for name in VIEWS}
        assert np.argmax(detector.score_windows(mixed, 1.0, from_target=False)) == 4
        assert np.argmin(detector.score_windows(mixed, 1.0, from_target=True)) == 4

    def test_clips_together_are_each_alone(self, detector: FusedDetector) -> None:
        clips, counts = machine(3, 0, seed=4)[0], [4, 1, 2]
        windows = machine(sum(counts), 0, seed=5)[0]
        together = detector.score_with_windows(clips, windows, counts)
        starts = np.cumsum([0, *counts])
        for number, (score, from_target, spread) in enumerate(together):
            clip = {name: view[number : number + 1] for name, view in clips.items()}
            own = {name: view[starts[number] : starts[number + 1]] for name, view in windows.items()}
            scores, targets = detector.score(clip)
            assert score == pytest.approx(scores[0], rel=1e-6) and from_target == targets[0]
            np.testing.assert_allclose(spread, detector.score_windows(own, score, from_target), rtol=1e-6)

    def test_a_clip_of_one_window(self, detector: FusedDetector) -> None:
        assert detector.score_windows(machine(1, 0, seed=2)[0], 3.5, from_target=False) == pytest.approx([3.5])


class TestTensors:
    @pytest.mark.parametrize("target", [6, 1, 0])
    def test_round_trip_through_a_file_bit_by_bit(self, tmp_path: Path, target: int) -> None:
        detector, _ = fit_fused(*machine(20, target), FOLDS, seed=0)
        save_file(detector.tensors(), tmp_path / "fused.safetensors")
        restored = FusedDetector.from_tensors(load_file(tmp_path / "fused.safetensors"))
        assert restored.tensors().keys() == detector.tensors().keys()
        for name, tensor in detector.tensors().items():
            np.testing.assert_array_equal(restored.tensors()[name], tensor)
        fresh, _ = machine(5, 5, seed=1)
        for found, expected in zip(restored.score(fresh), detector.score(fresh), strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_a_missing_one_is_an_error(self) -> None:
        tensors = fit_fused(*machine(20, 6), FOLDS, seed=0)[0].tensors()
        assert len(tensors) == len(VIEWS) * 6
        for lost in tensors:
            with pytest.raises(KeyError):
                FusedDetector.from_tensors({name: tensor for name, tensor in tensors.items() if name != lost})
