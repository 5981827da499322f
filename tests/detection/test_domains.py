"""Domain minimum, held-out scores and thresholds, and the detectors of a machine as a whole."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.spatial.distance import cdist

from masd.config import ALL_SYSTEMS, PAPER_SYSTEMS, DetectionSettings, SystemName
from masd.detection.detectors import SYSTEMS, Detectors, fit_detectors
from masd.detection.features.clip import ClipFeatures
from masd.detection.features.views import VIEWS, Views
from masd.detection.paper.domains import DomainDetector, DomainMinimum, fit_domains
from masd.detection.paper.knn import KnnDetector
from masd.detection.system import TrainingClips
from masd.errors import MasdError

SMOTE_OFF: dict[str, Any] = {"smote_share": 0.0}
PLAIN: dict[str, Any] = {"knn": "plain"} | SMOTE_OFF


def cloud(count: int, seed: int = 0, centre: float = 0.0, dimensions: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(centre, 1.0, (count, dimensions)).astype(np.float32)


def two_domains(n_source: int = 12, n_target: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, one a clip, and which of them are target: two clouds that lie apart."""
    vectors = np.concatenate([cloud(n_source, 1), cloud(n_target, 2, centre=4.0)])
    return vectors, np.repeat([False, True], [n_source, n_target])


class Fitted(NamedTuple):
    minimum: DomainMinimum
    held_out: np.ndarray


def fit(
    name: SystemName,
    vectors: np.ndarray,
    is_target: np.ndarray,
    groups: np.ndarray | None = None,
    **options: Any,
) -> Fitted:
    groups = np.arange(len(vectors)) if groups is None else groups
    bank = SYSTEMS[name].system.bank
    return Fitted(*fit_domains(bank, vectors, groups, is_target, DetectionSettings(**options), seed=0))


class TestMinimum:
    source, target = cloud(10, 1), cloud(10, 2, centre=4.0)

    def pair(self, **target: float) -> DomainMinimum:
        def plain(bank: np.ndarray) -> KnnDetector:
            return KnnDetector.fit(bank, centres=None, neighbours=1, density_neighbours=None, seed=0)

        return DomainMinimum(DomainDetector(plain(self.source)), DomainDetector(plain(self.target), **target))

    def test_the_smaller_score_counts_and_its_domain_is_named(self) -> None:
        queries = np.concatenate([cloud(5, 3), cloud(5, 4, centre=4.0), cloud(5, 5, centre=2.0)])
        scores, from_target = self.pair().score(queries)
        to_source, to_target = cdist(queries, self.source).min(axis=1), cdist(queries, self.target).min(axis=1)
        np.testing.assert_allclose(scores, np.minimum(to_source, to_target))
        np.testing.assert_array_equal(from_target, to_target < to_source)
        assert not from_target[:5].any() and from_target[5:10].all()

    def test_each_domain_is_normalised_before_they_are_compared(self) -> None:
        queries = cloud(5, 4, centre=4.0)
        to_target = cdist(queries, self.target).min(axis=1)
        scores, from_target = self.pair(offset=1.0, scale=0.5).score(queries)
        np.testing.assert_allclose(scores, (to_target - 1.0) / 0.5)
        assert from_target.all()

    def test_without_a_target_model_the_source_stands_alone(self) -> None:
        alone = DomainMinimum(self.pair().source, None)
        scores, from_target = alone.score(self.target)
        np.testing.assert_allclose(scores, cdist(self.target, self.source).min(axis=1))
        assert not from_target.any()


class TestHeldOut:
    def test_every_clip_is_scored_by_detectors_fitted_without_it(self) -> None:
        """Up to 20 clips a domain are left out one by one: nearest other clip of its domain, or of the other domain."""
        vectors, is_target = two_domains()
        fitted = fit("knn-feature", vectors, is_target, **PLAIN)
        distances = cdist(vectors, vectors)
        np.fill_diagonal(distances, np.inf)
        np.testing.assert_allclose(fitted.held_out, distances.min(axis=1))

    def test_windows_of_a_clip_do_not_vouch_for_each_other(self) -> None:
        """Three windows a clip, all but equal: a clip whose own windows counted would score next to nothing."""
        centres, clip_is_target = two_domains()
        vectors = np.repeat(centres, 3, axis=0) + cloud(3 * len(centres), 7) * np.float32(0.01)
        groups = np.repeat(np.arange(len(centres)), 3)
        fitted = fit("knn-score", vectors, clip_is_target, groups, **PLAIN)
        distances = cdist(vectors, vectors)
        distances[groups[:, None] == groups[None, :]] = np.inf
        np.testing.assert_allclose(fitted.held_out, distances.min(axis=1).reshape(-1, 3).mean(axis=1))

    @pytest.mark.parametrize("name", PAPER_SYSTEMS)
    @pytest.mark.parametrize("n_source", [12, 40], ids=["one by one", "in folds"])
    @pytest.mark.parametrize("outlier", ["source", "target"])
    def test_a_planted_outlier_is_found_among_the_training_clips(
        self, name: SystemName, n_source: int, outlier: str
    ) -> None:
        """In the bank it is its own nearest neighbour at distance 0; held out it must stand out from all others."""
        vectors, is_target = two_domains(n_source, 8)
        planted = 3 if outlier == "source" else len(vectors) - 3
        vectors[planted] = np.tile([20.0, -20.0], 3)
        fitted = fit(name, vectors, is_target, knn="plain", lof_neighbours=4)
        if name.startswith("knn"):
            assert fitted.minimum.score(vectors[planted : planted + 1])[0][0] == 0.0
        assert np.argmax(fitted.held_out) == planted
        assert fitted.held_out[planted] > 3 * np.median(fitted.held_out)

    def test_synthetic_vectors_of_a_held_out_clip_are_held_out_too(self) -> None:
        """SMOTE would otherwise leave vectors half-way to the outlier."""
        vectors, is_target = two_domains(60, 8)
        planted = len(vectors) - 1
        vectors[planted] = np.tile([20.0, -20.0], 3)
        fitted = fit("knn-feature", vectors, is_target, knn="plain", smote_share=1.0)
        others = np.delete(vectors, planted, axis=0)
        assert fitted.held_out[planted] == pytest.approx(cdist(vectors[planted : planted + 1], others).min())

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_there_is_one_score_for_each_clip_and_none_for_synthetic_ones(self, share: float) -> None:
        vectors, is_target = two_domains(60, 8)
        assert fit("knn-feature", vectors, is_target, smote_share=share).held_out.shape == (68,)

    def test_folds_leave_each_clip_out(self) -> None:
        """Held-out distances can only be larger than those to the nearest other clip, and never 0."""
        vectors, is_target = two_domains(50, 6)
        fitted = fit("knn-feature", vectors, is_target, **PLAIN)
        distances = cdist(vectors, vectors)
        np.fill_diagonal(distances, np.inf)
        least = distances.min(axis=1)
        assert (fitted.held_out >= least - 1e-9).all()
        assert np.isclose(fitted.held_out, least).mean() > 0.5  # mostly the nearest neighbour is in another fold

    @pytest.mark.parametrize("name", PAPER_SYSTEMS)
    def test_reproducible_from_the_seed(self, name: SystemName) -> None:
        vectors, is_target = two_domains(50, 6)
        np.testing.assert_array_equal(fit(name, vectors, is_target).held_out, fit(name, vectors, is_target).held_out)


class TestZScore:
    def test_offset_and_scale_are_those_of_the_held_out_training_scores(self) -> None:
        vectors, is_target = two_domains()
        pair = fit("knn-feature", vectors, is_target, domain_scores="zscore", **PLAIN).minimum
        assert pair.target is not None
        for domain, rows in ((pair.source, ~is_target), (pair.target, is_target)):
            distances = cdist(vectors[rows], vectors[rows])
            np.fill_diagonal(distances, np.inf)
            own = distances.min(axis=1)
            assert domain.offset == pytest.approx(own.mean())
            assert domain.scale == pytest.approx(own.std(ddof=1))

    def test_held_out_scores_of_a_domain_are_standardised(self) -> None:
        vectors, _ = two_domains(12, 0)
        held_out = fit("knn-feature", vectors, np.zeros(12, bool), domain_scores="zscore", **PLAIN).held_out
        assert held_out.mean() == pytest.approx(0.0, abs=1e-9)
        assert held_out.std(ddof=1) == pytest.approx(1.0)

    def test_the_minimum_does_not_depend_on_the_spread_of_a_domain(self) -> None:
        vectors, is_target = two_domains()
        wide = vectors.copy()
        wide[is_target] = 1000 + 64 * (vectors[is_target] - 4)  # far away and much wider, otherwise the same
        narrow = vectors.copy()
        narrow[is_target] = 1000 + (vectors[is_target] - 4)
        options = {"domain_scores": "zscore"} | PLAIN
        scores = [fit("knn-feature", v, is_target, **options).held_out for v in (wide, narrow)]
        np.testing.assert_allclose(scores[0][is_target], scores[1][is_target], rtol=1e-3, atol=1e-3)

    def test_a_target_too_small_to_standardise_borrows_the_statistics_of_the_source(self) -> None:
        """A raw distance would be compared with a z-score: two scales that have nothing to do with each other."""
        vectors, is_target = two_domains(12, 1)
        pair = fit("knn-feature", vectors, is_target, domain_scores="zscore", **PLAIN).minimum
        assert pair.target is not None
        assert (pair.target.offset, pair.target.scale) == (pair.source.offset, pair.source.scale)
        scores, from_target = pair.score(vectors[-1:] + np.float32(0.01))
        assert from_target[0] and scores[0] < 0


def clip(seed: int, centre: float = 0.0, windows: int = 4) -> ClipFeatures:
    rng = np.random.default_rng(seed)
    direction = np.array([1.0, centre, 0, 0, 0]) + rng.normal(0, 0.1, 5)
    z = direction + rng.normal(0, 0.05, (windows, 5))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    errors = rng.normal(10, 1, windows).astype(np.float32)
    views: Views = {}
    window_views: Views = {}
    for name in VIEWS:
        own = np.array([centre, 0, 0, 0, 0]) + rng.normal(0, 0.1, (1, 5))
        views[name] = own.astype(np.float32)
        window_views[name] = (own + rng.normal(0, 0.05, (windows, 5))).astype(np.float32)
    frames = np.array([centre, 0, 0, 0, 0]) + rng.normal(0, 0.1, (10 * windows, 5))
    spans = np.arange(windows)[:, None] * 10 + np.array([0, 10])
    return ClipFeatures(z, errors, frames.astype(np.float32), spans, views, window_views)


def machine(n_source: int = 30, n_target: int = 6) -> tuple[list[ClipFeatures], np.ndarray]:
    clips = [clip(n, windows=3 + n % 3) for n in range(n_source)]
    clips += [clip(1000 + n, centre=2.0) for n in range(n_target)]
    return clips, np.repeat([False, True], [n_source, n_target])


VARIANTS: list[dict[str, Any]] = [
    {},
    {"knn": "plain"},
    {"domain_scores": "zscore"},
    {"domain_scores": "density"},
    {"knn": "plain", "domain_scores": "density", "knn_neighbours": 3},
]


class TestTable:
    def test_the_settings_may_name_every_row_and_no_other(self) -> None:
        assert tuple(SYSTEMS) == ALL_SYSTEMS
        assert set(ALL_SYSTEMS) - set(PAPER_SYSTEMS) == {"fused"}

    @pytest.mark.parametrize("name", ALL_SYSTEMS)
    def test_a_system_alone_scores_as_beside_the_others(self, name: SystemName) -> None:
        detectors, _ = fit_detectors(*machine(), DetectionSettings(), seed=0)
        alone, together = detectors.score_clips([clip(500)], [name])[0], detectors.score(clip(500))
        assert set(alone) == {name}
        assert alone[name].score == together[name].score
        np.testing.assert_array_equal(alone[name].window_scores, together[name].window_scores)

    def test_clips_of_a_store_have_no_window_scores_under_the_fused_system(self) -> None:
        detectors, _ = fit_detectors(*machine(), DetectionSettings(latent=True), seed=0)
        heard = clip(500)
        scores = detectors.score(replace(heard, window_views={}))["fused"]
        assert scores.score == pytest.approx(detectors.score(heard)["fused"].score, rel=1e-6)
        assert scores.window_scores.size == 0

    @pytest.mark.parametrize("name", ALL_SYSTEMS)
    def test_a_system_is_fitted_and_kept_without_the_others(self, name: SystemName) -> None:
        clips, is_target = machine()
        training = TrainingClips(clips, is_target, np.arange(len(clips)))
        fitted = SYSTEMS[name].system.fit(training, DetectionSettings(), 0)
        again = SYSTEMS[name].system.from_tensors("other", fitted.system.tensors("other"))
        assert [one.score for one in again.score(clips[:3])] == [one.score for one in fitted.system.score(clips[:3])]
        assert fitted.held_out.shape == fitted.calibrates.shape == (len(clips),)


class TestDetectors:
    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    @pytest.mark.parametrize("n_target", [6, 1, 0])
    def test_tensors_round_trip_through_a_file_without_changing_a_score(
        self, tmp_path: Path, options: dict[str, Any], n_target: int
    ) -> None:
        detectors, _ = fit_detectors(*machine(n_target=n_target), DetectionSettings(**options), seed=0)
        save_file(detectors.tensors(), tmp_path / "detectors.safetensors")
        restored = Detectors.from_tensors(load_file(tmp_path / "detectors.safetensors"), has_network=True)
        assert restored.thresholds == detectors.thresholds
        for query in (clip(77), clip(78, centre=2.0, windows=1), clip(79, centre=-3.0)):
            for name, scores in detectors.score(query).items():
                again = restored.score(query)[name]
                assert (again.score, again.from_target) == (scores.score, scores.from_target)
                np.testing.assert_array_equal(again.window_scores, scores.window_scores)

    def test_a_missing_tensor_is_an_error(self) -> None:
        detectors, _ = fit_detectors(*machine(), DetectionSettings(latent=True), seed=0)
        tensors = detectors.tensors()
        for lost in (
            "lof-score.threshold",
            "error_scaling.feature",
            "knn-feature.source.references",
            "fused.threshold",
            "fused.latent.typical",
            "fused.frames.axes",
            "fused.band-peak.whitening",
        ):
            with pytest.raises(KeyError):
                rest = {name: array for name, array in tensors.items() if name != lost}
                Detectors.from_tensors(rest, has_network=True)

    @pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
    def test_a_threshold_is_the_percentile_of_held_out_scores(self, percentile: float) -> None:
        settings = DetectionSettings(threshold_percentile=percentile)
        detectors, held_out = fit_detectors(*machine(n_target=0), settings, seed=0)
        for name in ALL_SYSTEMS:
            ordered = np.sort(held_out[name])
            position = percentile / 100 * (len(ordered) - 1)
            low, share = int(position), position % 1
            expected = ordered[low] + share * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
            assert detectors.thresholds[name] == pytest.approx(expected)

    def test_the_fused_threshold_rests_on_all_clips_the_others_on_unseen_and_target_clips(self) -> None:
        clips, is_target = machine()
        unseen = np.zeros(len(clips), bool)
        unseen[[2, 5, 7, 11]] = True
        settings = DetectionSettings()
        detectors, held_out = fit_detectors(clips, is_target, settings, 0, unseen)
        everything, same_held_out = fit_detectors(clips, is_target, settings, 0)
        none_unseen, _ = fit_detectors(clips, is_target, settings, 0, np.zeros(len(clips), bool))
        for name in PAPER_SYSTEMS:
            np.testing.assert_array_equal(held_out[name], same_held_out[name])
            assert detectors.calibrations[name].clips == 4 + is_target.sum()
        calibration = detectors.calibrations["fused"]
        assert (calibration.clips, calibration.recordings) == (len(clips), len(clips))
        assert calibration.threshold == detectors.thresholds["fused"]
        assert none_unseen.thresholds == everything.thresholds != detectors.thresholds

    def test_what_the_network_remembers_is_corrected(self) -> None:
        """Latents of all clips but the unseen ones lie close together: their scores are as if they were not known."""
        clips, is_target = machine(60, 10)
        unseen = np.arange(len(clips)) % 6 == 0
        middle = np.mean([clip.views["latent"] for clip in clips], axis=0)
        remembered = [
            one if new else replace(one, views=one.views | {"latent": middle + 0.2 * (one.views["latent"] - middle)})
            for one, new in zip(clips, unseen, strict=True)
        ]
        _, held_out = fit_detectors(remembered, is_target, DetectionSettings(latent=True), 0, unseen)
        _, uncorrected = fit_detectors(remembered, is_target, DetectionSettings(latent=True), 0)
        source = ~is_target
        ratios = [
            np.log(scores["fused"][source & unseen]).mean() - np.log(scores["fused"][source & ~unseen]).mean()
            for scores in (held_out, uncorrected)
        ]
        assert abs(ratios[0]) < abs(ratios[1])

    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    def test_about_as_many_normal_clips_pass_the_threshold_as_the_percentile_says(
        self, options: dict[str, Any]
    ) -> None:
        detectors, _ = fit_detectors(*machine(200, 40), DetectionSettings(**options), seed=0)
        fresh = [clip(5000 + n) for n in range(90)] + [clip(6000 + n, centre=2.0) for n in range(90)]
        for name in ALL_SYSTEMS:
            alarms = np.mean([detectors.score(c)[name].score > detectors.thresholds[name] for c in fresh])
            assert alarms == pytest.approx(0.1, abs=0.08), name

    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    def test_an_anomaly_scores_above_every_threshold(self, options: dict[str, Any]) -> None:
        detectors, _ = fit_detectors(*machine(), DetectionSettings(**options), seed=0)
        usual = clip(1)
        views: Views = {name: view + np.float32(1.0) for name, view in usual.views.items()}
        frames = usual.log_mel + np.float32(1.0)
        strange = replace(usual, embeddings=-usual.embeddings, log_mel=frames, views=views)
        loud = replace(usual, errors=usual.errors + 50, log_mel=frames, views=views)
        for anomaly in (strange, loud):
            for name, scores in detectors.score(anomaly).items():
                assert scores.score > 1.5 * abs(detectors.thresholds[name]), name

    def test_the_domain_of_a_clip_is_that_of_the_nearer_model(self) -> None:
        detectors, _ = fit_detectors(*machine(), DetectionSettings(), seed=0)
        for name in ("fused", "knn-feature", "knn-score"):
            assert not detectors.score(clip(500))[name].from_target
            assert detectors.score(clip(501, centre=2.0))[name].from_target

    def test_a_clip_score_of_the_score_systems_is_the_mean_over_its_windows(self) -> None:
        """Of the fused detector it is the geometric mean."""
        detectors, _ = fit_detectors(*machine(), DetectionSettings(), seed=0)
        answer = detectors.score(clip(500, windows=7))
        assert set(answer) == set(ALL_SYSTEMS)
        for name in PAPER_SYSTEMS:
            assert answer[name].window_scores.shape == (7,)
            if SYSTEMS[name].system.level == "score":
                assert answer[name].score == pytest.approx(float(np.mean(answer[name].window_scores)))
        assert answer["fused"].window_scores.shape == (7,)
        assert answer["fused"].score == pytest.approx(float(np.prod(answer["fused"].window_scores) ** (1 / 7)))
        np.testing.assert_array_equal(answer["knn-feature"].window_scores, answer["knn-score"].window_scores)
        np.testing.assert_array_equal(answer["lof-feature"].window_scores, answer["lof-score"].window_scores)

    def test_a_clip_of_one_window_has_one_score_at_both_levels_of_the_bank(self) -> None:
        """If every clip is one window, aggregation has nothing to do: both systems of a kind are the same system."""
        clips = [clip(n, windows=1) for n in range(30)]
        detectors, held_out = fit_detectors(clips, np.zeros(30, bool), DetectionSettings(), seed=0)
        for kind in ("knn", "lof"):
            np.testing.assert_allclose(held_out[f"{kind}-feature"], held_out[f"{kind}-score"], rtol=1e-5)
            answer = detectors.score(clip(99, windows=1))
            assert answer[f"{kind}-feature"].score == pytest.approx(answer[f"{kind}-score"].score, rel=1e-5)

    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    @pytest.mark.parametrize("n_target", [0, 1, 2, 3])
    def test_few_target_clips(self, options: dict[str, Any], n_target: int) -> None:
        detectors, held_out = fit_detectors(*machine(n_target=n_target), DetectionSettings(**options), seed=0)
        for name in ALL_SYSTEMS:
            assert held_out[name].shape == (30 + n_target,)
            assert np.isfinite(held_out[name]).all()
            assert np.isfinite(detectors.thresholds[name])
            assert np.isfinite(detectors.score(clip(500))[name].score)
        if n_target == 0:
            assert all(detectors.systems[name].minimum.target is None for name in PAPER_SYSTEMS)
            assert all(len(neighbours.target) == 0 for neighbours in detectors.systems["fused"].neighbours.values())

    def test_target_clips_only_are_one_domain_whatever_its_name(self) -> None:
        clips, _ = machine(12, 0)
        as_target, _ = fit_detectors(clips, np.ones(12, bool), DetectionSettings(), seed=0)
        as_source, _ = fit_detectors(clips, np.zeros(12, bool), DetectionSettings(), seed=0)
        assert as_target.thresholds == as_source.thresholds
        assert as_target.systems["knn-feature"].minimum.target is None
        assert len(as_target.systems["fused"].neighbours["band-mean"].target) == 0

    @pytest.mark.parametrize(("n_source", "n_target"), [(0, 1), (2, 0), (1, 6), (2, 6)])
    def test_too_few_clips_to_hold_any_out(self, n_source: int, n_target: int) -> None:
        with pytest.raises(MasdError, match="at least 3") as refused:
            fit_detectors(*machine(n_source, n_target), DetectionSettings(), seed=0)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    def test_three_clips_are_enough(self, options: dict[str, Any]) -> None:
        detectors, _ = fit_detectors(*machine(3, 0), DetectionSettings(**options), seed=0)
        assert np.isfinite(list(detectors.thresholds.values())).all()

    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    def test_identical_training_clips_give_finite_scores(self, options: dict[str, Any]) -> None:
        """A dead microphone records the same silence again and again."""
        detectors, held_out = fit_detectors([clip(1)] * 30, np.arange(30) >= 24, DetectionSettings(**options), seed=0)
        for name in ALL_SYSTEMS:
            assert np.isfinite(held_out[name]).all()
            assert np.isfinite(detectors.score(clip(2))[name].score)

    def test_banks_are_bounded(self) -> None:
        detectors, _ = fit_detectors(*machine(60, 6), DetectionSettings(knn="plain", max_vectors=25), seed=0)
        banks = {name: len(a) for name, a in detectors.tensors().items() if name.endswith((".vectors", ".references"))}
        assert len(banks) == 8
        assert max(banks.values()) == 25

    def test_target_vectors_are_over_sampled_to_their_share(self) -> None:
        detectors, _ = fit_detectors(*machine(100, 6), DetectionSettings(smote_share=0.3), seed=0)
        assert len(detectors.tensors()["knn-feature.target.references"]) == 30
        assert len(detectors.tensors()["lof-feature.target.vectors"]) == 30

    def test_source_has_centres_and_the_target_keeps_all_its_vectors(self) -> None:
        detectors, _ = fit_detectors(*machine(100, 6), DetectionSettings(**SMOTE_OFF), seed=0)
        tensors = detectors.tensors()
        assert len(tensors["knn-feature.source.references"]) == 16
        assert len(tensors["knn-feature.target.references"]) == 6
