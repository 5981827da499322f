"""Bets on ranks: their mean, their limits, and the rate of the rule they make."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from masd.alarms.evidence import SHIFTS, WEIGHTS, advance, bets, level, total


@pytest.mark.parametrize("size", [1, 20, 100, 5000])
def test_the_mean_bet_of_a_uniform_rank_is_one(size: int) -> None:
    assert bets(np.arange(size + 1), np.full(size + 1, size)).mean(axis=0) == pytest.approx(np.ones(3), abs=1e-9)
    assert WEIGHTS.sum() == pytest.approx(1.0)


def test_a_bet_is_the_mean_likelihood_ratio_over_the_bin_of_its_rank() -> None:
    for shift, bet in zip(SHIFTS, bets(3, 40), strict=True):
        expected, _ = quad(lambda p, mu=shift: np.exp(mu * norm.isf(p) - mu**2 / 2), 3 / 41, 4 / 41)
        assert bet == pytest.approx(41 * expected, rel=1e-6)


def test_a_higher_score_never_bets_less() -> None:
    assert (np.diff(bets(np.arange(201), np.full(201, 200)), axis=0) < 0).all()


def _false_alarms(ranks: np.ndarray, size: int, clips: float) -> int:
    evidence = np.zeros((ranks.shape[1], 3))
    found = 0
    for bet in bets(np.arange(size + 1), size)[ranks]:
        evidence = advance(evidence, bet)
        alarm = total(evidence) >= level(clips, size)
        found += int(alarm.sum())
        evidence[alarm] = 0.0
    return found


@pytest.mark.parametrize("size", [50, 200, 1000, 5000])
@pytest.mark.parametrize("clips", [300, 1000])
def test_normal_ranks_make_fewer_alarms_than_asked_whatever_the_scores(size: int, clips: int) -> None:
    ranks = np.random.default_rng(size).integers(0, size + 1, (4000, 100))
    found = _false_alarms(ranks, size, clips)
    assert 0 < found < ranks.size / clips


def test_most_calibrations_keep_the_rate_even_small_ones() -> None:
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(40):
        calibration = np.sort(rng.standard_t(2, 100))
        ranks = 100 - np.searchsorted(calibration, rng.standard_t(2, (1000, 30)), "left")
        kept.append(_false_alarms(ranks, 100, 300) <= ranks.size / 300)
    assert np.mean(kept) >= 0.9
