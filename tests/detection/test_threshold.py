"""A threshold, its interval, and whether it rests on enough."""

import numpy as np
import pytest

from masd.detection.threshold import Calibration, calibrate

NONE = np.zeros(0, bool)


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
