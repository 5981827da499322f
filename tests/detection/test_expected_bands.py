"""Bands that cannot be compared: filled so that the same sound scores the same at every sample rate."""

import io
from collections.abc import Callable
from math import gcd
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from scipy.signal import resample_poly

from masd.audio._torchaudio import import_torchaudio
from masd.bundle.bundle import load_bundle
from masd.detection.scorer import Scorer
from masd.detection.trained_on.expected_bands import ExpectedBands
from masd.detection.trained_on.warning_codes import TrainedOn

RATE = 16_000


def _soxr(quality: str) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda samples, rate: soxr.resample(samples, RATE, rate, quality=quality)


def _poly(samples: np.ndarray, rate: int) -> np.ndarray:
    common = gcd(rate, RATE)
    return resample_poly(samples, rate // common, RATE // common)


def _torchaudio(samples: np.ndarray, rate: int) -> np.ndarray:
    return import_torchaudio().functional.resample(torch.from_numpy(samples), RATE, rate).numpy()


RESAMPLERS = {"soxr HQ": _soxr("HQ"), "soxr VHQ": _soxr("VHQ"), "scipy": _poly, "torchaudio": _torchaudio}
RATES = (22_050, 32_000, 44_100, 48_000, 51_200, 96_000)


def encode(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return load_bundle(tiny_bundle).scorer


@pytest.fixture(scope="module")
def clips(tiny_data: Path) -> list[np.ndarray]:
    paths = sorted((tiny_data / "fan" / "test").glob("*.wav"))[::4]
    return [soundfile.read(path, dtype="float32")[0] for path in paths]


def scores(scorer: Scorer, contents: list[bytes]) -> np.ndarray:
    results = scorer.score([scorer.decode(content) for content in contents])
    assert all(result.warnings == () for result in results)
    return np.array([result.score for result in results])


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_the_same_sound_scores_the_same_at_other_rates(resampler: str, scorer: Scorer, clips: list[np.ndarray]) -> None:
    """torchaudio's short filter takes 2 dB at 7 kHz already: its clips are allowed twice as much."""
    allowed = 0.04 if resampler == "torchaudio" else 0.02
    threshold = scorer.detectors.thresholds[scorer.system]
    at_home = scores(scorer, [encode(samples, RATE) for samples in clips])
    for rate in RATES:
        away = scores(scorer, [encode(RESAMPLERS[resampler](samples, rate), rate) for samples in clips])
        assert np.abs(away / at_home - 1.0).mean() < allowed, rate
        assert np.abs(away / at_home - 1.0).max() < 2 * allowed, rate
        assert ((away > threshold) == (at_home > threshold)).all(), rate


def test_without_it_they_do_not(scorer: Scorer, clips: list[np.ndarray]) -> None:
    """The test above can fail."""
    at_home = scores(scorer, [encode(samples, RATE) for samples in clips])
    expected, scorer.expected = scorer.expected, None
    try:
        away = scores(scorer, [encode(_soxr("HQ")(samples, 48_000), 48_000) for samples in clips])
    finally:
        scorer.expected = expected
    assert np.abs(away / at_home - 1.0).mean() > 0.05


def test_a_lower_rate_is_scored_by_what_it_has_and_said(scorer: Scorer, clips: list[np.ndarray]) -> None:
    at_home = scores(scorer, [encode(samples, RATE) for samples in clips])
    for rate in (8_000, 11_025):
        results = scorer.score([scorer.decode(encode(soxr.resample(samples, RATE, rate), rate)) for samples in clips])
        assert all(result.warnings == ("sample_rate",) for result in results)
        assert np.abs(np.log([result.score for result in results] / at_home)).max() < np.log(2.0)


def test_bands_that_are_known_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(-30, 3, (400, 6))
    frames = np.concatenate([low, low[:, :2] + rng.normal(-10, 0.5, (400, 2))], axis=1).astype(np.float32)
    bands = ExpectedBands.fit([frames[:200], frames[200:]])
    other = frames[:100] + rng.normal(0, 1, (100, 8)).astype(np.float32)
    filled = bands.fill(other, 6)
    np.testing.assert_array_equal(filled[:, :6], other[:, :6])
    assert np.array_equal(bands.fill(other, 8), other)
    # the regression is found, and what it misses is as large as in training
    missed = filled[:, 6:] - (other[:, :2] - 10)
    assert np.abs(missed.mean(axis=0)).max() < 0.2
    np.testing.assert_allclose(missed.std(axis=0), 0.5, rtol=0.25)
    assert bands.fill(np.full((3, 8), -120.0, np.float32), 6).shape == (3, 8)


def test_it_survives_a_bundle() -> None:
    bands = ExpectedBands.fit([np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)])
    again = ExpectedBands.from_tensors(bands.tensors())
    frames = np.zeros((10, 8), np.float32)
    np.testing.assert_array_equal(again.fill(frames, 5), bands.fill(frames, 5))


@pytest.mark.parametrize(
    ("trained", "asked", "alike_hz"),
    [
        ((16_000,), 16_000, None),
        ((), 48_000, None),
        ((16_000,), 48_000, 7_500.0),
        ((48_000,), 16_000, 7_500.0),
        ((16_000,), 8_000, 3_750.0),
        ((8_000,), 48_000, 3_750.0),
        ((16_000, 48_000), 48_000, None),
    ],
)
def test_how_high_a_clip_can_be_compared(trained: tuple[int, ...], asked: int, alike_hz: float | None) -> None:
    assert TrainedOn(sample_rates=trained).alike_below_hz(asked, RATE) == alike_hz
