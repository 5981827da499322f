"""The weighted metrics against the official ones on resamples that are really made, and what is drawn."""

import numpy as np
import pandas as pd
import pytest
from numpy.random import default_rng
from sklearn.metrics import roc_auc_score

from masd.evaluation.bootstrap import draw_weights, harmonic_means, weighted_metrics
from masd.evaluation.metrics import AREAS, EPSILON, areas, harmonic_mean, official_metrics

FULL = {("source", "normal"): 23, ("source", "anomaly"): 17, ("target", "normal"): 31, ("target", "anomaly"): 29}
NAMES = (*AREAS, "hmean")


def table(seed: int, counts: dict[tuple[str, str], int], section: str = "00") -> pd.DataFrame:
    rng = default_rng(seed)
    rows = [
        (section, domain, condition, rng.normal(0.8 * (condition == "anomaly") + 0.3 * (domain == "target")))
        for (domain, condition), count in counts.items()
        for _ in range(count)
    ]
    frame = pd.DataFrame(rows, columns=["section", "domain", "condition", "score"])
    return frame.sample(frac=1, random_state=seed, ignore_index=True)


def check_against_official(frame: pd.DataFrame, samples: int = 8) -> None:
    """Every resample repeated clip by clip and measured by the official metric."""
    weights = draw_weights(frame, samples, default_rng(0))
    found = weighted_metrics(frame, frame["score"], weights)
    for row, weight in enumerate(weights):
        resample = frame.loc[frame.index.repeat(weight.astype(int))]
        expected = official_metrics(resample, resample["score"].tolist(), threshold=0.0)
        for name in NAMES:
            value = expected[name]
            assert found[name][row] == pytest.approx(np.nan if value is None else value, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_has_the_metrics_of_its_clips(seed: int) -> None:
    check_against_official(table(seed, FULL))


@pytest.mark.parametrize("decimals", [0, 1])
def test_tied_scores_count_half_and_the_partial_area_cuts_through_them(decimals: int) -> None:
    frame = table(3, FULL)
    check_against_official(frame.assign(score=frame["score"].round(decimals)))
    check_against_official(frame.assign(score=1.0))


def test_two_sections_are_combined_as_officially() -> None:
    check_against_official(pd.concat([table(0, FULL), table(1, FULL, section="01")], ignore_index=True))
    source = {group: count for group, count in FULL.items() if group[0] == "source"}
    check_against_official(pd.concat([table(0, FULL), table(1, source, section="01")], ignore_index=True))


@pytest.mark.parametrize(
    "counts",
    [
        {("none", "normal"): 9, ("none", "anomaly"): 8},
        {("target", "normal"): 9, ("source", "anomaly"): 8},
        {("source", "normal"): 9, ("target", "normal"): 9, ("none", "anomaly"): 1},
        {("source", "normal"): 9, ("target", "unknown"): 9},
        {("source", "anomaly"): 9},
    ],
    ids=["no domains", "no source normals", "one anomaly", "only normal clips", "only anomalies"],
)
def test_what_cannot_exist_is_nan(counts: dict[tuple[str, str], int]) -> None:
    check_against_official(table(2, counts))


def test_an_unlabelled_section_takes_no_part() -> None:
    frame, blind = table(0, FULL), table(1, {("source", "unknown"): 5}, section="01")
    check_against_official(pd.concat([blind, frame], ignore_index=True))


def test_weights_need_not_be_counts() -> None:
    """scikit-learn's own weighted areas, and the unweighted ones for weights of one."""
    frame, rng = table(5, FULL), default_rng(1)
    weights = np.vstack([np.ones(len(frame)), rng.gamma(1.0, size=len(frame))])
    found = weighted_metrics(frame, frame["score"], weights)
    is_target, anomaly = (frame["domain"] == "target").to_numpy(), (frame["condition"] == "anomaly").to_numpy()
    plain = areas(frame["score"].to_numpy(), is_target, ~anomaly, anomaly)
    assert [found[name][0] for name in AREAS] == pytest.approx([plain[name] for name in AREAS], abs=1e-9)
    for name, used, limit in (
        ("auc_source", anomaly | ~is_target, None),
        ("auc_target", anomaly | is_target, None),
        ("pauc", anomaly | ~anomaly, 0.1),
    ):
        expected = roc_auc_score(anomaly[used], frame["score"][used], sample_weight=weights[1][used], max_fpr=limit)
        assert found[name][1] == pytest.approx(expected, abs=1e-9)


def test_clips_are_drawn_within_section_domain_and_condition() -> None:
    frame = pd.concat([table(0, FULL), table(1, FULL | {("none", "unknown"): 4}, section="01")], ignore_index=True)
    weights = draw_weights(frame, 50, default_rng(2))
    assert weights.shape == (50, len(frame))
    assert np.array_equal(weights, weights.astype(int)) and weights.max() > 2
    for key, rows in frame.groupby(["section", "domain", "condition"]).indices.items():
        expected = 0 if key[2] == "unknown" else len(rows)
        assert (weights[:, rows].sum(axis=1) == expected).all()
    means = weights[:, frame["condition"] != "unknown"].mean(axis=0)
    assert means.min() > 0.4 and means.max() < 1.8


def test_unlabelled_clips_change_no_draw() -> None:
    frame = table(0, FULL)
    more = pd.concat([frame, table(1, {("target", "unknown"): 7})], ignore_index=True)
    assert np.array_equal(
        draw_weights(frame, 5, default_rng(3)), draw_weights(more, 5, default_rng(3))[:, : len(frame)]
    )


def test_harmonic_means_are_the_official_harmonic_mean() -> None:
    values = np.array([[0.6, 0.0, np.nan, np.nan], [0.3, 1.0, 0.7, np.nan], [np.nan, 1.0, 0.5, np.nan]])
    expected = [harmonic_mean(None if np.isnan(value) else value for value in column) for column in values.T]
    assert expected[1] == pytest.approx(3 * EPSILON, rel=1e-3) and expected[3] is None
    assert harmonic_means(values)[:3] == pytest.approx(expected[:3])
    assert np.isnan(harmonic_means(values)[3])
