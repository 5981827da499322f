"""The controls: the official baseline by its description, and the mel statistics in plain numpy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from masd.config import AudioSettings, Settings
from masd.data.folders.machine import read_machine
from masd.data.store import FeatureStore, build_store
from masd.detection.controls import CONTROLS, BaselineAutoEncoder, MelStatistics
from masd.detection.controls.baseline import frame_vectors
from masd.detection.controls.scores import score_controls
from masd.evaluation.metrics import official_metrics

BANDS, FRAMES = 8, 30


def store(n_source: int = 20, n_target: int = 6, n_test: int = 5) -> FeatureStore:
    """Normal clips of two domains, and test clips of which the last is anomalous: its upper bands are 15 dB louder."""
    rng = np.random.default_rng(0)
    rows = [("train", "noisy", "source")] * n_source + [("train", "noisy", "target")] * n_target
    rows += [("supplemental", "noise", "none")] * 3 + [("test", "noisy", "source")] * n_test
    clips = pd.DataFrame(rows, columns=["split", "kind", "domain"]).assign(copy_of="", recording=range(len(rows)))
    frames = rng.normal(-40, 3, (len(rows), FRAMES, BANDS)) + rng.normal(0, 2, (len(rows), 1, BANDS))
    frames[(clips["domain"] == "target").to_numpy()] += np.linspace(0, 10, BANDS)
    frames[(clips["kind"] == "noise").to_numpy()] = 1e3  # nothing may listen to these
    frames[-1, :, BANDS // 2 :] += 15
    clips["n_frames"], clips["offset"] = FRAMES, FRAMES * np.arange(len(rows))
    flat = frames.reshape(-1, BANDS).astype(np.float32)
    return FeatureStore(Path(), "fan", "", AudioSettings(), 0.0, (), clips, flat)


TEST = {"split": "test"}


class TestMelStatistics:
    def shrunk(self, x: np.ndarray) -> np.ndarray:
        """Ledoit and Wolf (2004), from its formulas."""
        n, p = x.shape
        x = x - x.mean(axis=0)
        sample = x.T @ x / n
        mean = np.trace(sample) / p
        dispersion = np.square(sample - mean * np.eye(p)).sum() / p
        error = sum(np.square(np.outer(row, row) - sample).sum() for row in x) / n**2 / p
        share = min(error, dispersion) / dispersion
        return (1 - share) * sample + share * mean * np.eye(p)

    def statistics(self, data: FeatureStore, rows: np.ndarray) -> np.ndarray:
        clips = np.asarray(data.frames, np.float64).reshape(-1, FRAMES, BANDS)[rows]
        mean = clips.sum(axis=1) / FRAMES
        deviation = np.sqrt(np.square(clips - mean[:, None]).sum(axis=1) / FRAMES)
        return np.concatenate([mean, deviation], axis=1)

    def test_against_its_definition(self) -> None:
        data = store()
        rows, train = data.rows(**TEST), data.rows(split="train")
        vectors = self.statistics(data, train)
        centre, spread = vectors.mean(axis=0), vectors.std(axis=0)
        x = (vectors - centre) / spread
        inverse = np.linalg.inv(self.shrunk(x))
        is_target = data.clips["domain"].to_numpy()[train] == "target"
        expected = []
        for query in (self.statistics(data, rows) - centre) / spread:
            offsets = [query - x[domain].mean(axis=0) for domain in (~is_target, is_target)]
            expected.append(min(np.sqrt(offset @ inverse @ offset) for offset in offsets))
        np.testing.assert_allclose(MelStatistics.fit(data, seed=0).score(data, rows), expected, rtol=1e-6)

    def test_hears_the_anomaly_and_knows_both_domains(self) -> None:
        data = store()
        control = MelStatistics.fit(data, seed=0)
        scores = control.score(data, data.rows(**TEST))
        assert scores[-1] > control.threshold
        assert scores[-1] > scores[:-1].max()
        one_domain = MelStatistics.fit(replace(data, clips=data.clips.assign(domain="source")), seed=0)
        target = data.rows(split="train", domain="target")
        assert control.score(data, target).mean() < one_domain.score(data, target).mean()

    def test_about_as_many_held_out_clips_pass_the_threshold_as_the_percentile_says(self) -> None:
        data = store(n_source=150, n_target=0, n_test=151)
        for percentile in (80.0, 95.0):
            control = MelStatistics.fit(data, seed=0, percentile=percentile)
            alarms = (control.score(data, data.rows(**TEST)[:-1]) > control.threshold).mean()
            assert alarms == pytest.approx(1 - percentile / 100, abs=0.07)

    def test_the_threshold_comes_from_clips_that_were_held_out(self) -> None:
        """Few clips of many statistics: fitted to themselves they would all lie close."""
        data = store(n_source=20, n_target=0)
        control = MelStatistics.fit(data, seed=0)
        own = control.score(data, data.rows(split="train"))
        assert control.threshold > np.percentile(own, 90)

    @pytest.mark.parametrize("counts", [(20, 0), (0, 20), (3, 1), (2, 0)])
    def test_one_domain_or_few_clips(self, counts: tuple[int, int]) -> None:
        data = store(*counts)
        control = MelStatistics.fit(data, seed=0)
        assert len(control.means) == sum(count > 0 for count in counts)
        assert np.isfinite([control.threshold, *control.score(data, data.rows(**TEST))]).all()


class TestBaseline:
    @pytest.fixture(scope="class")
    @staticmethod
    def fitted() -> tuple[FeatureStore, BaselineAutoEncoder]:
        data = store()
        return data, BaselineAutoEncoder.fit(data, seed=0, epochs=5)

    def residuals(self, data: FeatureStore, control: BaselineAutoEncoder, row: int) -> np.ndarray:
        """``[T - 4, 5, F]``: what the network leaves of every run of five frames."""
        frames = np.asarray(data.frames)[row * FRAMES : (row + 1) * FRAMES]
        runs = np.stack([frames[start : start + 5].reshape(-1) for start in range(FRAMES - 4)])
        with torch.no_grad():
            rebuilt = control.network(torch.from_numpy(runs)).numpy()
        return (runs - rebuilt).astype(np.float64).reshape(-1, 5, BANDS)

    def test_frame_vectors_hold_five_frames_one_after_the_other(self) -> None:
        log_mel = np.arange(7 * 3, dtype=np.float32).reshape(7, 3)
        assert frame_vectors(log_mel).tolist() == [log_mel[n : n + 5].reshape(-1).tolist() for n in range(3)]
        short = frame_vectors(log_mel[:2])
        assert short.tolist() == [log_mel[[0, 1, 0, 1, 0]].reshape(-1).tolist()]

    def test_the_mse_score(self, fitted: tuple[FeatureStore, BaselineAutoEncoder]) -> None:
        data, control = fitted
        rows = data.rows(**TEST)
        expected = [np.square(self.residuals(data, control, row)).mean() for row in rows]
        np.testing.assert_allclose(control.score(data, rows)["baseline-mse"], expected, rtol=1e-5)

    def test_the_mahalanobis_score(self, fitted: tuple[FeatureStore, BaselineAutoEncoder]) -> None:
        """Of each residual frame under the residual covariance of each domain; mean over the clip, smaller domain."""
        data, control = fitted
        inverses = []
        for domain in ("source", "target"):
            train = data.rows(split="train", domain=domain)
            frames = np.concatenate([self.residuals(data, control, row).reshape(-1, BANDS) for row in train])
            inverses.append(np.linalg.inv(np.cov(frames.T)))
        rows = data.rows(**TEST)
        expected = []
        for row in rows:
            frames = self.residuals(data, control, row).reshape(-1, BANDS)
            expected.append(min(np.mean([frame @ inverse @ frame for frame in frames]) for inverse in inverses))
        np.testing.assert_allclose(control.score(data, rows)["baseline-mahalanobis"], expected, rtol=1e-4)

    def test_thresholds_are_the_90th_percentile_of_a_gamma_fit_to_training_scores(
        self, fitted: tuple[FeatureStore, BaselineAutoEncoder]
    ) -> None:
        data, control = fitted
        for name, scores in control.score(data, data.rows(split="train")).items():
            shape, location, scale = stats.gamma.fit(scores)
            below = stats.gamma.cdf(control.thresholds[name], shape, location, scale)
            assert below == pytest.approx(0.9, abs=1e-6)

    def test_the_network_is_the_published_one(self, fitted: tuple[FeatureStore, BaselineAutoEncoder]) -> None:
        linear = [layer for layer in fitted[1].network.modules() if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in linear] == [128] * 4 + [8] + [128] * 4 + [5 * BANDS]
        assert linear[0].in_features == 5 * BANDS
        assert not fitted[1].network.training

    def test_training_lowers_the_error(self) -> None:
        data = store()
        rows = data.rows(split="train")
        few, many = (BaselineAutoEncoder.fit(data, seed=0, epochs=n).score(data, rows) for n in (1, 20))
        assert many["baseline-mse"].mean() < 0.9 * few["baseline-mse"].mean()

    def test_deterministic_from_the_seed_and_torch_is_left_as_it_was(self) -> None:
        data = store()
        rows = data.rows(**TEST)
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = BaselineAutoEncoder.fit(data, seed=3, epochs=2)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        again, other = (BaselineAutoEncoder.fit(data, seed=seed, epochs=2) for seed in (3, 4))
        assert first.thresholds == again.thresholds != other.thresholds
        for name, scores in first.score(data, rows).items():
            np.testing.assert_array_equal(scores, again.score(data, rows)[name])

    def test_one_domain_has_one_covariance(self) -> None:
        data = store(n_target=0)
        control = BaselineAutoEncoder.fit(data, seed=0, epochs=1)
        assert len(control.precisions) == 1
        assert np.isfinite(np.concatenate(list(control.score(data, data.rows(**TEST)).values()))).all()

    @pytest.mark.parametrize("frames", [1, 4, 5])
    def test_clips_of_hardly_any_frames(self, frames: int) -> None:
        data = store(n_source=10, n_target=0)
        data = replace(data, clips=data.clips.assign(n_frames=frames))
        control = BaselineAutoEncoder.fit(data, seed=0, epochs=1)
        scores = control.score(data, data.rows(**TEST))
        assert np.isfinite(np.concatenate(list(scores.values()))).all()


def test_all_controls_have_a_score_and_a_threshold_and_as_many_epochs_as_set() -> None:
    data = store()
    rows = data.rows(**TEST)
    scores, thresholds = score_controls(data, rows, seed=0, baseline_epochs=2)
    assert set(scores) == set(CONTROLS) == set(thresholds)
    expected = BaselineAutoEncoder.fit(data, seed=0, epochs=2).score(data, rows)
    np.testing.assert_array_equal(scores["baseline-mse"], expected["baseline-mse"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "reference"),
    [("lathe", (64.1, 88.1, 66.5)), ("bldcmotor", (88.1, 92.8, 74.9))],
    ids=["lathe", "bldcmotor"],
)
def test_mel_statistics_reach_their_reference_on_real_recordings(
    recordings: Path, tmp_path: Path, machine: str, reference: tuple[float, float, float]
) -> None:
    """AUC source, AUC target and pAUC in percent, as published with the recordings."""
    data = build_store(read_machine(recordings / machine), Settings(), tmp_path / "store").without_high_pass()
    rows = data.rows(split="test")
    scores = MelStatistics.fit(data, seed=0).score(data, rows)
    metrics = official_metrics(data.clips.iloc[rows], scores, threshold=0.0)
    reached = [100 * (metrics[name] or 0.0) for name in ("auc_source", "auc_target", "pauc")]
    assert reached == pytest.approx(reference, abs=3.0)
