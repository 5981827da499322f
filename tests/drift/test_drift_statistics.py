"""The tests of columns: their rate without drift, their power, and columns that are hardly any."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from drift_logs import make_clips
from scipy.stats import fisher_exact, ks_2samp, kstwobign

from masd.audio.signals import SIGNAL_COLUMNS
from masd.drift.statistics import (
    COLUMNS,
    MODEL_COLUMNS,
    compare,
    fisher_p_values,
    ks_p_values,
    rounded,
)

RATE = 0.05


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    """300 clips, of which the model's own values are known of every tenth."""
    clips = rounded(make_clips(300, np.random.default_rng(0), version=""))
    clips.loc[clips.index % 10 > 0, list(MODEL_COLUMNS)] = np.nan
    return clips


def divisions(n: int, inside: int, k: int, rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros((n, k), dtype=bool)
    labels[:inside] = True
    return rng.permuted(labels, axis=0)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_ks_is_scipys_distance_with_ties_too(decimals: int, rng: np.random.Generator) -> None:
    values, labels = rng.normal(size=130).round(decimals), divisions(130, 40, 20, rng)
    expected = [ks_2samp(values[own], values[~own]).statistic for own in labels.T]
    scale = (40 * 90 / 130) ** 0.5
    np.testing.assert_allclose(ks_p_values(values, labels), kstwobign.sf(scale * np.array(expected)), rtol=1e-9)


@pytest.mark.parametrize(("n", "inside", "share"), [(130, 50, 0.93), (60, 30, 0.5), (40, 35, 0.9), (31, 30, 1.0)])
def test_the_share_at_the_usual_value_is_fishers_exact_test(
    n: int, inside: int, share: float, rng: np.random.Generator
) -> None:
    has_value, labels = rng.random(n) < share, divisions(n, inside, 30, rng)
    tables = [
        [[(has_value & own).sum(), (~has_value & own).sum()], [(has_value & ~own).sum(), (~has_value & ~own).sum()]]
        for own in labels.T
    ]
    expected = [fisher_exact(table).pvalue for table in tables]
    np.testing.assert_allclose(fisher_p_values(has_value, labels), expected, rtol=1e-9)


@pytest.mark.parametrize("size", [30, 200])
def test_false_alarms_stay_below_the_rate_over_all_columns(size: int) -> None:
    """Reference and window are new for each check; the bound plus three standard errors."""
    checks, rng = 80, np.random.default_rng(1)
    pool = rounded(make_clips(1500, rng))
    alarms = 0
    for _ in range(checks):
        rows = rng.permutation(len(pool))[: 100 + size]
        reference, window = pool.iloc[rows[size:]].copy(), pool.iloc[rows[:size]]
        reference.iloc[15:, [reference.columns.get_loc(name) for name in MODEL_COLUMNS]] = np.nan
        alarms += any(column.drifted for column in compare(reference, window, RATE).values())
    assert alarms / checks <= RATE + 3 * (RATE * (1 - RATE) / checks) ** 0.5


def test_correlated_columns_share_one_threshold_that_beats_bonferroni(reference: pd.DataFrame) -> None:
    """All octaves move together here: six columns must not cost six times."""
    window = rounded(make_clips(200, np.random.default_rng(2)))
    found = compare(reference, window, RATE)
    thresholds = {found[name].threshold for name in SIGNAL_COLUMNS if name in found}
    assert len(thresholds) == 1
    assert thresholds.pop() > 1.2 * RATE / 2 / sum(name in SIGNAL_COLUMNS for name in found)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("score", lambda values: values * 1.25),
        ("margin", lambda values: values + 0.1),
        ("reconstruction_error", lambda values: values + 0.4),
        ("embedding_distance", lambda values: values + 1.0),
        ("level_dbfs", lambda values: values + 3.0),
        ("spectral_centroid_hz", lambda values: values + 120.0),
        ("octave_1000_2000_db", lambda values: values - 0.3),
        ("clipped_share", lambda values: values.where(values.index % 4 > 0, 0.01)),
        ("duration_s", lambda values: values.where(values.index % 5 > 0, 12.0)),
        ("sample_rate", lambda values: values.where(values.index % 10 > 0, 44_100)),
    ],
)
def test_a_change_in_one_column_is_found_there_and_only_there(
    reference: pd.DataFrame, column: str, change: Callable[[pd.Series], pd.Series]
) -> None:
    window = rounded(make_clips(100, np.random.default_rng(3)))
    window[column] = change(window[column])
    found = compare(reference, window, RATE)
    assert [name for name, result in found.items() if result.drifted] == [column]


def test_the_same_data_give_the_same_answer(reference: pd.DataFrame) -> None:
    window = rounded(make_clips(40, np.random.default_rng(4)))
    assert compare(reference, window, RATE) == compare(reference, window, RATE)


def test_a_column_that_is_constant_and_equal_is_left_out(reference: pd.DataFrame) -> None:
    found = compare(reference, rounded(make_clips(60, np.random.default_rng(5))), RATE)
    assert set(COLUMNS) - set(found) == {"duration_s", "sample_rate"}


def test_model_values_that_the_reference_does_not_know_leave_the_whole_rate_to_the_signals(
    reference: pd.DataFrame,
) -> None:
    window = rounded(make_clips(60, np.random.default_rng(6)))
    unknown = reference.assign(**dict.fromkeys(MODEL_COLUMNS, np.nan))
    alone, both = compare(unknown, window, RATE), compare(reference, window, RATE)
    assert not set(alone) & set(MODEL_COLUMNS)
    assert alone["level_dbfs"].threshold > both["level_dbfs"].threshold
    assert alone["level_dbfs"].p_value == both["level_dbfs"].p_value


@pytest.mark.parametrize(("known", "size"), [(1, 1), (2, 30), (300, 1)])
def test_tiny_samples_have_an_answer_and_no_alarm(reference: pd.DataFrame, known: int, size: int) -> None:
    window = rounded(make_clips(size, np.random.default_rng(7)))
    found = compare(reference.iloc[:known], window, RATE)
    assert found and not any(column.drifted for column in found.values())


def test_nothing_differs_where_both_are_one_clip_over_and_over(reference: pd.DataFrame) -> None:
    one = reference.iloc[[0]]
    assert compare(pd.concat([one] * 20), pd.concat([one] * 40), RATE) == {}


def test_two_odd_clips_of_fifty_are_noticed_where_the_reference_has_one_value() -> None:
    """p of a rank test would be 1 here; both odd clips falling into the window has a chance of 0.002."""
    reference, window = make_clips(990, np.random.default_rng(8)), make_clips(50, np.random.default_rng(9))
    window.loc[:1, "sample_rate"] = 44_100
    column = compare(rounded(reference), rounded(window), RATE)["sample_rate"]
    assert column.test == "match share" and column.usual == 16_000
    assert column.p_value == pytest.approx(50 * 49 / (1040 * 1039))
    assert column.drifted


@pytest.mark.parametrize("duration_s", [10.0013, 10.08, 9.92, 10.1])
def test_padding_of_a_codec_is_no_new_duration(reference: pd.DataFrame, duration_s: float) -> None:
    window = make_clips(60, np.random.default_rng(10)).assign(duration_s=duration_s)
    assert "duration_s" not in compare(reference, rounded(window), RATE)


def test_beyond_padding_a_duration_is_new(reference: pd.DataFrame) -> None:
    window = make_clips(60, np.random.default_rng(10)).assign(duration_s=10.12)
    assert compare(reference, rounded(window), RATE)["duration_s"].drifted
