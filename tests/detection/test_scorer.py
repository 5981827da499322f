"""The Scorer: one number for one clip, however it comes, and what it does when the sound changes.

The behaviour tests say what is promised of any model: scores are finite whatever the sound, unchanged by what a
microphone cannot hear (polarity, container, a second equal channel), little changed by when the recording starts, and
higher for what is plainly foreign. The size of a change depends on the model, so it is compared with other changes.
"""

import copy
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.numpy import load_file
from scipy.signal import resample
from sklearn.neighbors import LocalOutlierFactor

from masd.audio import AudioError
from masd.audio.log_mel import LogMel
from masd.bundle.bundle import load_bundle
from masd.config import ALL_SYSTEMS, PAPER_SYSTEMS, Settings, SystemName
from masd.detection.result import ClipScore
from masd.detection.scorer import Scorer
from masd.learning.network import ConvolutionalAutoEncoder
from masd.lifecycle import steps

RATE = 16_000
Samples = np.ndarray


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return load_bundle(tiny_bundle).scorer


@pytest.fixture(scope="module")
def clips(tiny_data: Path) -> list[Samples]:
    """The normal test clips, 3 s each."""
    files = sorted((tiny_data / "fan" / "test").glob("*normal*.wav"))
    assert len(files) == 8
    return [soundfile.read(file, dtype="float32")[0] for file in files]


def encoded(samples: Samples, rate: int = RATE, container: str = "WAV", subtype: str = "FLOAT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def score(scorer: Scorer, samples: Samples, rate: int = RATE, **encoding: str) -> ClipScore:
    return scorer.score([scorer.decode(encoded(samples, rate, **encoding))], all_systems=True)[0]


def of_all(
    scorer: Scorer, clips: Sequence[Samples], change: Callable[[Samples], Samples] = lambda samples: samples
) -> dict[SystemName, np.ndarray]:
    """The five scores of every clip after a change."""
    results = [score(scorer, change(samples).astype(np.float32)) for samples in clips]
    return {name: np.array([result.systems[name] for result in results]) for name in ALL_SYSTEMS}


@pytest.fixture(scope="module")
def usual(scorer: Scorer, clips: list[Samples]) -> dict[SystemName, np.ndarray]:
    return of_all(scorer, clips)


def moves(usual: dict[SystemName, np.ndarray], changed: dict[SystemName, np.ndarray]) -> dict[SystemName, float]:
    """By how much each system's mean score moves, in standard deviations of the usual scores."""
    return {name: float(abs((changed[name] - usual[name]).mean()) / usual[name].std()) for name in ALL_SYSTEMS}


def with_system(scorer: Scorer, system: SystemName) -> Scorer:
    detection = scorer.settings.detection.model_copy(update={"system": system})
    other = copy.copy(scorer)
    other.settings = scorer.settings.model_copy(update={"detection": detection})
    return other


class TestIndependently:
    """The five scores once more, from the bundle's arrays and with nothing of the detection room."""

    def windows(
        self, scorer: Scorer, tiny_bundle: Path, samples: Samples
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Embeddings ``[W, d]`` of unit length, errors ``[W]``, latents ``[W, C, F', T']``; all frames ``[T, F]``."""
        tensors = load_file(tiny_bundle / "network.safetensors")
        frames = LogMel(scorer.settings.audio, 200.0)(samples).astype(np.float64)
        frames = (frames - tensors["normalisation.fan.mean"]) / float(tensors["normalisation.fan.scale"])
        starts = [*range(0, len(frames) - 64, 32), len(frames) - 64]
        weights = {
            k.removeprefix("network."): torch.from_numpy(v) for k, v in tensors.items() if k.startswith("network.")
        }
        network = ConvolutionalAutoEncoder(scorer.settings.network, len(weights["classifier.bias"])).eval()
        network.load_state_dict(weights)
        embeddings, errors, latents = [], [], []
        for start in starts:
            x = torch.from_numpy(frames[start : start + 64].T.astype(np.float32))[None, None]
            with torch.no_grad():
                latent = network.encoder(x)
                z = network.projection(latent.mean(dim=(2, 3)))[0].double().numpy()
                x_hat = network.decoder(latent)
            embeddings.append(z / np.linalg.norm(z))
            errors.append(float((x - x_hat).double().square().sum().sqrt()))
            latents.append(latent[0].double().numpy())
        return np.array(embeddings), np.array(errors), np.array(latents), frames

    def modulation(self, frames: np.ndarray) -> np.ndarray:
        """Of eight groups of bands, by the definition of a Fourier transform."""
        levels = frames.reshape(len(frames), 8, -1).mean(axis=2)
        starts = sorted({*range(0, len(frames) - 31, 16), len(frames) - 32})
        waves = np.exp(-2j * np.pi * np.outer(np.arange(1, 17), np.arange(32)) / 32)
        taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 31)
        segments = [(levels[s : s + 32] - levels[s : s + 32].mean(axis=0)) * taper[:, None] for s in starts]
        power = np.mean([np.abs(waves @ segment) ** 2 / 32 for segment in segments], axis=0)
        return np.log(power + 0.01).T.ravel()

    def domain_score(self, arrays: dict[str, np.ndarray], prefix: str, vector: np.ndarray) -> float:
        if prefix.startswith("knn"):
            return float(np.linalg.norm(arrays[f"{prefix}.references"] - vector, axis=1).min())
        bank = arrays[f"{prefix}.vectors"].astype(np.float64)
        estimator = LocalOutlierFactor(n_neighbors=min(20, len(bank) - 1), novelty=True).fit(bank)
        return float(-estimator.score_samples(vector[None])[0])

    @pytest.mark.parametrize("name", PAPER_SYSTEMS)
    def test_aggregation(
        self,
        scorer: Scorer,
        tiny_bundle: Path,
        clips: list[Samples],
        name: SystemName,
    ) -> None:
        arrays = load_file(tiny_bundle / "detectors.safetensors")
        kind, level = name.split("-")
        mean, factor = arrays[f"error_scaling.{level}"]
        for samples in clips[:3]:
            embeddings, errors, _, _ = self.windows(scorer, tiny_bundle, samples)
            if level == "feature":
                embedding = embeddings.mean(axis=0)
                embeddings, errors = embedding[None] / np.linalg.norm(embedding), errors.mean()[None]
            vectors = np.column_stack([embeddings, (errors - mean) * factor])
            per_vector = [
                min(self.domain_score(arrays, f"{kind}-{level}.{domain}", vector) for domain in ("source", "target"))
                for vector in vectors
            ]
            assert score(scorer, samples).systems[name] == pytest.approx(np.mean(per_vector), rel=1e-3)

    def of_frames(self, arrays: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
        """Root mean squared Mahalanobis distance to each domain of what the axes leave of each run of five frames, over
        the nine tenths of the runs that are closest.
        """
        mean, axes, centres, precisions = (
            arrays[f"fused.frames.{name}"].astype(np.float64) for name in ("mean", "axes", "centres", "precisions")
        )
        squares = np.empty((len(frames) - 4, 2))
        for start in range(len(squares)):
            run = frames[start : start + 5] - mean
            residual = run - axes @ np.einsum("kfa,kf->a", axes, run)
            squares[start] = [
                np.mean([(frame - c) @ p @ (frame - c) for frame in residual])
                for c, p in zip(centres, precisions, strict=True)
            ]
        closest = np.sort(squares, axis=0)[: int(0.9 * len(squares))]
        return np.sqrt(closest.mean(axis=0))

    def test_fusion(self, scorer: Scorer, tiny_bundle: Path, clips: list[Samples]) -> None:
        arrays = load_file(tiny_bundle / "detectors.safetensors")
        for samples in clips[:3]:
            _, _, latents, frames = self.windows(scorer, tiny_bundle, samples)
            mean = frames.mean(axis=0)
            views = {
                "band-mean": (0.2, mean),
                "band-peak": (0.05, np.percentile(frames, 95, axis=0) - mean),
                "band-change": (0.05, (frames[1:] - frames[:-1]).std(axis=0)),
                "modulation": (0.25, self.modulation(frames)),
                "latent": (0.05, latents.mean(axis=(0, 3)).reshape(-1, 4, 2).mean(axis=2).ravel()),
            }
            decibels = LogMel(scorer.settings.audio, 200.0)(samples)
            log_ratios = 0.4 * np.log(self.of_frames(arrays, decibels) / arrays["fused.frames.typical"])
            for name, (weight, view) in views.items():
                own = {
                    key: arrays[f"fused.{name}.{key}"].astype(np.float64) for key in ("centre", "spread", "whitening")
                }
                whitened = ((view - own["centre"]) / own["spread"]) @ own["whitening"]
                for number, domain in enumerate(("source", "target")):
                    distance = np.linalg.norm(arrays[f"fused.{name}.{domain}"] - whitened, axis=1).min()
                    log_ratios[number] += weight * np.log(distance / arrays[f"fused.{name}.typical"][number])
            result = score(scorer, samples)
            assert result.systems["fused"] == pytest.approx(np.exp(log_ratios.min()), rel=1e-3)
            assert (result.system, result.domain) == ("fused", ("source", "target")[int(np.argmin(log_ratios))])


def test_a_batch_of_any_lengths_scores_as_one_by_one(scorer: Scorer, clips: list[Samples]) -> None:
    lengths = [48_000, 1, 700, 16_000, 40_001, 48_000 * 6]
    recordings = [
        scorer.decode(encoded(np.resize(samples, length))) for samples, length in zip(clips, lengths, strict=False)
    ]
    for together, recording in zip(scorer.score(recordings, all_systems=True), recordings, strict=True):
        (alone,) = scorer.score([recording], all_systems=True)
        for name in ALL_SYSTEMS:
            assert together.systems[name] == pytest.approx(alone.systems[name], rel=1e-5, abs=1e-5)
        assert together.reconstruction_error == pytest.approx(alone.reconstruction_error, rel=1e-5)
        assert [s.start_s for s in together.segments] == [s.start_s for s in alone.segments]


def test_the_same_clip_scores_the_same_again(scorer: Scorer, clips: list[Samples]) -> None:
    assert score(scorer, clips[0]) == score(scorer, clips[0])


def test_the_same_training_again_gives_the_same_scores(
    scorer: Scorer,
    usual: dict[SystemName, np.ndarray],
    clips: list[Samples],
    tiny_features: Path,
    tiny_settings: Settings,
    tmp_path: Path,
) -> None:
    for seed, folder in ((0, tmp_path / "again"), (1, tmp_path / "other")):
        settings = tiny_settings.model_copy(update={"seed": seed})
        steps.train(tiny_features, ["fan"], settings, folder / "network", device="cpu")
        steps.fit_detectors(tiny_features, "fan", folder / "network", settings, folder / "fan")
    again, other = (load_bundle(tmp_path / name / "fan").scorer for name in ("again", "other"))
    assert again.detectors.thresholds == pytest.approx(scorer.detectors.thresholds, abs=1e-6)
    scores, of_other = of_all(again, clips), of_all(other, clips)
    for name in ALL_SYSTEMS:
        np.testing.assert_allclose(scores[name], usual[name], rtol=0, atol=1e-6)
        assert np.abs(of_other[name] - usual[name]).max() > 1e-3


def test_no_clips_no_scores(scorer: Scorer) -> None:
    assert scorer.score([]) == []


@pytest.mark.parametrize("system", ALL_SYSTEMS)
def test_the_answer_is_that_of_the_chosen_system(scorer: Scorer, clips: list[Samples], system: SystemName) -> None:
    chosen = with_system(scorer, system)
    result = score(chosen, clips[0])
    assert result.system == system
    assert result.score == result.systems[system]
    assert result.threshold == scorer.detectors.thresholds[system]
    assert result.anomalous == (result.score > result.threshold)
    assert (result.machine_type, result.domain in ("source", "target")) == ("fan", True)
    assert result.duration_s == 3.0


@pytest.mark.parametrize("system", ALL_SYSTEMS)
def test_an_answer_computes_its_own_system_alone(scorer: Scorer, clips: list[Samples], system: SystemName) -> None:
    chosen, recording = with_system(scorer, system), scorer.decode(encoded(clips[0]))
    (alone,), (among_all,) = chosen.score([recording]), chosen.score([recording], all_systems=True)
    assert set(alone.systems) == {system} and set(among_all.systems) == set(ALL_SYSTEMS)
    assert alone.to_dict() == among_all.to_dict()


def test_a_threshold_is_replaced_clip_by_clip_and_changes_no_score(scorer: Scorer, clips: list[Samples]) -> None:
    recordings = [scorer.decode(encoded(samples)) for samples in clips[:3]]
    plain = scorer.score(recordings)
    low, own, exact = scorer.score(recordings, thresholds=[-1.0, None, plain[2].score])
    assert low.anomalous and low.threshold == -1.0
    assert own == plain[1]
    assert not exact.anomalous  # a score is anomalous above its threshold, not at it
    assert [r.score for r in (low, own, exact)] == [r.score for r in plain]


def test_threshold_zero_is_a_threshold(scorer: Scorer, clips: list[Samples]) -> None:
    (result,) = scorer.score([scorer.decode(encoded(clips[0]))], thresholds=[0.0])
    assert result.threshold == 0.0 and result.anomalous


@pytest.mark.parametrize("system", ALL_SYSTEMS)
@pytest.mark.parametrize("samples", [1, 800, 16_000, 32_256, 32_768, 48_000, 100_000])
def test_segments_cover_the_clip_without_a_gap(scorer: Scorer, system: SystemName, samples: int) -> None:
    rng = np.random.default_rng(samples)
    result = score(with_system(scorer, system), rng.normal(0, 0.05, samples).astype(np.float32))
    starts = [segment.start_s for segment in result.segments]
    ends = [segment.end_s for segment in result.segments]
    assert starts[0] == 0.0
    assert ends[-1] == pytest.approx(samples / RATE)
    assert starts == sorted(starts) and len(set(starts)) == len(starts)
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(after <= before for after, before in zip(starts[1:], ends, strict=False))
    hop = 512 / RATE
    lengths = np.array(ends) - np.array(starts)
    np.testing.assert_allclose(lengths, min(64 * hop, samples / RATE), atol=1.01 * hop)
    if system.endswith("score"):
        assert np.mean([segment.score for segment in result.segments]) == pytest.approx(result.score)
    if system == "fused":
        logs = np.log([segment.score for segment in result.segments])
        assert np.exp(logs.mean()) == pytest.approx(result.score)


def test_segments_point_at_the_moment_of_a_fault(scorer: Scorer, clips: list[Samples]) -> None:
    """Ten seconds of normal sound with a burst of noise from 6.0 to 6.5 s."""
    samples = np.resize(clips[0], 10 * RATE).copy()
    samples[6 * RATE : 6 * RATE + RATE // 2] += np.random.default_rng(0).normal(0, 0.5, RATE // 2).astype(np.float32)
    segments = score(scorer, samples).segments
    worst = max(segments, key=lambda segment: segment.score)
    assert worst.start_s < 6.5 and worst.end_s > 6.0
    untouched = [segment.score for segment in segments if segment.end_s < 5.9 or segment.start_s > 6.6]
    assert untouched and worst.score > 2 * max(untouched)


class TestWhatDoesNotMatter:
    def unchanged(self, scorer: Scorer, samples: Samples, other: ClipScore) -> None:
        usual = score(scorer, samples)
        for name in ALL_SYSTEMS:
            assert other.systems[name] == pytest.approx(usual.systems[name], rel=1e-4, abs=1e-6)

    def test_polarity(self, scorer: Scorer, clips: list[Samples]) -> None:
        self.unchanged(scorer, clips[0], score(scorer, -clips[0]))

    def test_a_second_equal_channel(self, scorer: Scorer, clips: list[Samples]) -> None:
        self.unchanged(scorer, clips[0], score(scorer, np.stack([clips[0]] * 2, axis=1)))

    @pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "DOUBLE")])
    def test_the_container(self, scorer: Scorer, clips: list[Samples], container: str, subtype: str) -> None:
        """The clips were written in 16 bits, so that these lose nothing."""
        self.unchanged(scorer, clips[0], score(scorer, clips[0], container=container, subtype=subtype))

    def test_a_path_or_its_bytes(self, scorer: Scorer, clips: list[Samples], tmp_path: Path) -> None:
        path = tmp_path / "clip.wav"
        path.write_bytes(encoded(clips[0]))
        assert scorer.score([scorer.decode(path)]) == scorer.score([scorer.decode(path.read_bytes())])


class TestWhatMattersLittle:
    """By how much the mean score of normal clips may move, in standard deviations of these clips' scores. Each limit is
    about one and a half of what a change does here, for the system that notices it most.
    """

    @pytest.mark.parametrize("shift", [512, 5_000, 24_000])
    def test_when_the_recording_starts(
        self, scorer: Scorer, clips: list[Samples], usual: dict[SystemName, np.ndarray], shift: int
    ) -> None:
        """A steadily running machine."""
        moved = moves(usual, of_all(scorer, clips, lambda samples: np.roll(samples, shift)))
        assert max(moved.values()) < 0.5, moved

    def test_hearing_the_same_sound_twice(
        self, scorer: Scorer, clips: list[Samples], usual: dict[SystemName, np.ndarray]
    ) -> None:
        """The default system has a view of the whole clip's modulation, which a seam in its middle changes."""
        moved = moves(usual, of_all(scorer, clips, lambda samples: np.tile(samples, 2)))
        assert moved.pop("fused") < 1.5
        assert max(moved.values()) < 0.45, moved

    def test_a_tenth_of_a_decibel(
        self, scorer: Scorer, clips: list[Samples], usual: dict[SystemName, np.ndarray]
    ) -> None:
        moved = moves(usual, of_all(scorer, clips, lambda samples: samples * 10 ** (0.1 / 20)))
        assert moved.pop("fused") < 0.02
        assert max(moved.values()) < 0.3, moved

    def test_the_sample_rate(self, scorer: Scorer, clips: list[Samples], usual: dict[SystemName, np.ndarray]) -> None:
        """Copies at higher rates sound alike below 7.4 kHz, where the filter of every down-sampling must begin to act.

        Above, a 16 kHz clip has sound and its copies have not: that much a score tells, and no more.
        """
        copies = {
            rate: [resample(clip, len(clip) * rate // RATE).astype(np.float32) for clip in clips]
            for rate in (44_100, 48_000, 96_000)
        }
        scores = {rate: [score(scorer, c, rate).systems["knn-feature"] for c in copies[rate]] for rate in copies}
        np.testing.assert_allclose(scores[44_100], scores[48_000], rtol=0.05)
        np.testing.assert_allclose(scores[96_000], scores[48_000], rtol=0.05)
        noisy = of_all(scorer, clips, lambda samples: samples + noise_like(samples, 0.0))["knn-feature"]
        assert (np.array(scores[48_000]) - usual["knn-feature"]).mean() < 0.25 * (noisy - usual["knn-feature"]).mean()
        audible = scorer.log_mel.centres_hz < 7_400
        for original, same in zip(clips, copies[48_000], strict=True):
            here = scorer.log_mel(scorer.decode(encoded(original)).samples)
            there = scorer.log_mel(scorer.decode(encoded(same, 48_000)).samples)
            assert np.abs((here - there).mean(axis=0)[audible]).max() < 0.5  # dB


def noise_like(samples: Samples, snr_db: float) -> Samples:
    noise = np.random.default_rng(0).normal(0, samples.std(), len(samples))
    return (noise * 10 ** (-snr_db / 20)).astype(np.float32)


def tone_like(samples: Samples, level: float) -> Samples:
    return (level * samples.std() * np.sin(2 * np.pi * 3111 * np.arange(len(samples)) / RATE)).astype(np.float32)


FOREIGN: dict[str, Callable[[Samples], Samples]] = {
    "noise as loud as the machine": lambda samples: samples + noise_like(samples, 0.0),
    "a loud tone": lambda samples: samples + tone_like(samples, 10.0),
    "ten times as loud": lambda samples: 10 * samples,
    "a tenth as loud": lambda samples: samples / 10,
    "silence": np.zeros_like,
    "hard clipping": lambda samples: np.clip(30 * samples, -1, 1),
    "every second sample missing": lambda samples: soxr.resample(soxr.resample(samples, RATE, 8_000), 8_000, RATE),
}


class TestWhatIsForeign:
    @pytest.mark.parametrize("change", FOREIGN)
    def test_raises_every_score(
        self, scorer: Scorer, clips: list[Samples], usual: dict[SystemName, np.ndarray], change: str
    ) -> None:
        foreign = of_all(scorer, clips, FOREIGN[change])
        for name in ALL_SYSTEMS:
            assert (foreign[name] > usual[name]).all()
        for name in ("fused", "knn-feature"):
            assert (foreign[name] > scorer.detectors.thresholds[name]).all()

    def test_the_more_noise_the_higher(
        self, scorer: Scorer, clips: list[Samples], usual: dict[SystemName, np.ndarray]
    ) -> None:
        means = [usual["knn-feature"].mean()]
        for snr_db in (10.0, 0.0, -10.0):
            noisy = of_all(scorer, clips, lambda samples, snr=snr_db: samples + noise_like(samples, snr))
            means.append(noisy["knn-feature"].mean())
        assert means == sorted(means)

    def test_a_wrong_rate_in_the_header(self, scorer: Scorer, clips: list[Samples]) -> None:
        """16 kHz samples that claim to be 8 kHz: half the pitch, twice the length, and said to be of another rate."""
        wrong = score(scorer, clips[0], rate=8_000)
        assert wrong.duration_s == 6.0
        assert wrong.signals.sample_rate_in == 8_000
        assert "sample_rate" in wrong.warnings


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros(48_000), id="silence"),
        pytest.param(np.ones(48_000), id="constant"),
        pytest.param(np.full(48_000, 1e-30), id="all but silence"),
        pytest.param(np.full(48_000, 1e6), id="far beyond full scale"),
        pytest.param(np.eye(1, 48_000)[0], id="one click"),
        pytest.param(np.zeros(1), id="one sample of silence"),
        pytest.param(np.ones(2), id="two samples"),
        pytest.param(np.sign(np.sin(np.arange(48_000))), id="square wave at full scale"),
    ],
)
def test_no_sound_gives_a_score_that_is_not_a_number(scorer: Scorer, samples: Samples) -> None:
    result = score(scorer, samples.astype(np.float32))
    assert np.isfinite(list(result.systems.values())).all()
    assert np.isfinite([segment.score for segment in result.segments]).all()
    record = result.to_record()
    numbers = [value for value in record.values() if isinstance(value, float)]
    assert np.isfinite(numbers).all()


class TestSignals:
    def test_level_and_clipping(self, scorer: Scorer) -> None:
        square = np.tile([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], 8_000).astype(np.float32)
        assert score(scorer, square).signals.clipped_share == 1.0
        assert score(scorer, square).signals.level_dbfs == pytest.approx(0.0)
        assert score(scorer, square / 10).signals.clipped_share == 1.0  # turned down after it was clipped
        assert score(scorer, np.tile([1.0, -1.0], 24_000).astype(np.float32)).signals.clipped_share == 0.0
        assert score(scorer, square / 10).signals.level_dbfs == pytest.approx(-20.0)

    def test_the_centroid_follows_the_pitch(self, scorer: Scorer) -> None:
        times = np.arange(48_000) / RATE
        for pitch in (1_000, 4_000):
            tone = (0.1 * np.sin(2 * np.pi * pitch * times)).astype(np.float32)
            assert score(scorer, tone).signals.spectral_centroid_hz == pytest.approx(pitch, rel=0.05)


class TestLimits:
    def limited(self, scorer: Scorer, **serving: float) -> Scorer:
        other = with_system(scorer, "knn-feature")
        limits = scorer.settings.serving.model_copy(update=serving)
        other.settings = scorer.settings.model_copy(update={"serving": limits})
        return other

    def refused(self, scorer: Scorer, samples: Samples) -> AudioError:
        with pytest.raises(AudioError) as error:
            scorer.decode(encoded(samples.astype(np.float32)))
        assert "\n" not in str(error.value)
        return error.value

    def test_too_long(self, scorer: Scorer) -> None:
        short = self.limited(scorer, max_clip_seconds=2.0)
        assert short.decode(encoded(np.zeros(32_000, np.float32))).duration_s == 2.0
        assert self.refused(short, np.zeros(32_001)).reason == "too_long"

    def test_silence_is_refused_only_where_asked_for(self, scorer: Scorer) -> None:
        picky = self.limited(scorer, refuse_silence_below_dbfs=-60.0)
        error = self.refused(picky, np.zeros(16_000))
        assert error.reason == "silent" and "serving.refuse_silence_below_dbfs" in str(error)
        assert self.refused(picky, np.full(16_000, 0.0009)).reason == "silent"
        picky.decode(encoded(np.full(16_000, 0.0011, np.float32)))
        scorer.decode(encoded(np.zeros(16_000, np.float32)))
