"""A threshold, its interval, and whether it rests on enough."""

import numpy as np
import pytest

from masd.detection.threshold import Calibration, calibrate


def one_domain(scores: np.ndarray, recordings: np.ndarray | None = None, percentile: float = 90.0) -> Calibration:
    of = np.arange(len(scores)) if recordings is None else recordings
    return calibrate(scores, of, np.zeros(len(scores), bool), percentile, seed=0)


def test_the_interval_holds_the_true_threshold_nine_times_in_ten() -> None:
    held = 0
    for seed in range(60):
        found = one_domain(np.random.default_rng(seed).lognormal(size=100))
        assert found.low <= found.threshold <= found.high
        held += found.low <= np.exp(1.2816) <= found.high
    assert 46 <= held <= 60


def test_both_domains_weigh_alike_however_few_target_clips_there_are() -> None:
    """Source scores around 1, target scores around 2, of the same spread: flagged together is one in ten."""
    rng = np.random.default_rng(0)
    fresh = np.exp(0.2 * rng.normal(size=4000)) * np.repeat([1.0, 2.0], 2000)
    flagged = []
    for _ in range(20):
        is_target = np.arange(210) >= 200
        scores = np.exp(0.2 * rng.normal(size=210)) * np.where(is_target, 2.0, 1.0)
        found = calibrate(scores, np.arange(210), is_target, 90.0, seed=0)
        flagged.append(float(np.mean(fresh > found.threshold)))
        assert np.mean(fresh > np.percentile(scores, 90.0)) > 0.3  # what the source alone, nearly, would say
    assert np.mean(flagged) == pytest.approx(0.1, abs=0.03)


def test_scores_that_may_be_negative_have_a_threshold_too() -> None:
    scores = np.random.default_rng(0).normal(size=60)
    found = calibrate(scores, np.arange(60), np.arange(60) >= 50, 90.0, seed=0)
    assert found.threshold == pytest.approx(1.28, abs=0.5)


def test_clips_of_one_recording_tell_less_than_as_many_recordings() -> None:
    levels = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    scores = np.exp(levels + 0.01 * np.random.default_rng(1).normal(size=200))
    apart, together = one_domain(scores), one_domain(scores, np.repeat(np.arange(20), 10))
    assert together.threshold == apart.threshold
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert (apart.clips, apart.recordings, together.recordings) == (200, 200, 20)


@pytest.mark.parametrize(("percentile", "needed"), [(90.0, 29), (95.0, 59), (99.0, 299), (50.0, 5)])
def test_how_many_recordings_a_rate_needs(percentile: float, needed: int) -> None:
    enough = one_domain(np.arange(1.0, needed + 1), percentile=percentile)
    fewer = one_domain(np.arange(1.0, needed), percentile=percentile)
    assert enough.recordings_needed == needed
    assert enough.warning is None
    assert fewer.warning is not None and str(needed) in fewer.warning and str(needed - 1) in fewer.warning
    assert "\n" not in fewer.warning


def test_it_survives_the_manifest_and_the_tensors() -> None:
    found = one_domain(np.random.default_rng(0).lognormal(size=30))
    assert Calibration.from_dict(found.to_dict()) == found
    assert f"{found.threshold:.3f}" in found.sentence and "30 recordings" in found.sentence
