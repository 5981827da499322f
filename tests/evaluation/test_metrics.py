"""The official metrics against pair counting and a ROC drawn by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from areas_by_hand import mcclish, pairs_won

from masd.evaluation.metrics import AREAS, EPSILON, harmonic_mean, official_metrics, official_score


def table(seed: int, counts: dict[tuple[str, str], int], ties: bool = False, section: str = "00") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (section, domain, condition, rng.normal(0.8 * (condition == "anomaly") + 0.3 * (domain == "target")))
        for (domain, condition), count in counts.items()
        for _ in range(count)
    ]
    frame = pd.DataFrame(rows, columns=["section", "domain", "condition", "score"]).sample(frac=1, random_state=seed)
    return frame.assign(score=frame["score"].round(1)) if ties else frame


FULL = {("source", "normal"): 23, ("source", "anomaly"): 17, ("target", "normal"): 31, ("target", "anomaly"): 29}


def expected_areas(frame: pd.DataFrame) -> dict[str, float]:
    anomalous = frame["score"][frame["condition"] == "anomaly"].tolist()

    def normal(*domains: str) -> list[float]:
        return frame["score"][(frame["condition"] == "normal") & frame["domain"].isin(domains)].tolist()

    return {
        "auc_source": pairs_won(normal("source", "none"), anomalous),
        "auc_target": pairs_won(normal("target"), anomalous),
        "pauc": mcclish(normal("source", "none", "target"), anomalous),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_areas(seed: int, ties: bool) -> None:
    frame = table(seed, FULL, ties)
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=0.5)
    for name, value in expected_areas(frame).items():
        assert metrics[name] == pytest.approx(value, abs=1e-9)
    assert metrics["hmean"] == pytest.approx(3 / sum(1 / metrics[name] for name in AREAS))


def test_anomalies_of_both_domains_count_against_the_normals_of_one() -> None:
    """Normals: source 0, target 10. Anomalies: source 5, target 15."""
    frame = pd.DataFrame(
        [
            ("00", "source", "normal", 0.0),
            ("00", "target", "normal", 10.0),
            ("00", "source", "anomaly", 5.0),
            ("00", "target", "anomaly", 15.0),
        ],
        columns=["section", "domain", "condition", "score"],
    )
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=7.0)
    assert (metrics["auc_source"], metrics["auc_target"]) == (1.0, 0.5)


@pytest.mark.parametrize(("order", "area", "pauc"), [(1, 1.0, 1.0), (-1, 0.0, 0.5 * (1 - 0.005 / 0.095))])
def test_a_perfect_and_a_perfectly_wrong_detector(order: int, area: float, pauc: float) -> None:
    frame = table(0, FULL)
    scores = order * (frame["condition"] == "anomaly").astype(float)
    metrics = official_metrics(frame, scores.tolist(), threshold=0.5 * order)
    assert (metrics["auc_source"], metrics["auc_target"]) == (area, area)
    assert metrics["pauc"] == pytest.approx(pauc)


def test_a_constant_score_is_chance() -> None:
    frame = table(0, FULL)
    metrics = official_metrics(frame, [1.0] * len(frame), threshold=0.5)
    assert [metrics[name] for name in (*AREAS, "hmean")] == pytest.approx([0.5] * 4)


def test_only_the_order_of_scores_counts() -> None:
    frame = table(1, FULL)
    plain = official_metrics(frame, frame["score"].tolist(), threshold=0.0)
    bent = official_metrics(frame, np.exp(3 * frame["score"]).tolist(), threshold=1.0)
    assert plain | {"threshold": 1.0} == pytest.approx(bent)


def test_decisions_look_at_clips_of_their_own_domain() -> None:
    rows = [
        ("source", "normal", 0.1),
        ("source", "normal", 0.9),
        ("source", "anomaly", 0.8),
        ("source", "anomaly", 0.2),
    ]
    rows += [
        ("source", "anomaly", 0.7),
        ("target", "normal", 0.5),
        ("target", "anomaly", 0.6),
        ("target", "anomaly", 0.51),
    ]
    frame = pd.DataFrame([("00", *row) for row in rows], columns=["section", "domain", "condition", "score"])
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=0.5)  # 0.5 itself is not above the threshold
    source = (metrics["precision_source"], metrics["recall_source"], metrics["f1_source"])
    assert source == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (metrics["precision_target"], metrics["recall_target"], metrics["f1_target"]) == (1.0, 1.0, 1.0)
    assert metrics["threshold"] == 0.5


def test_no_alarm_at_all_is_zero_not_an_error() -> None:
    frame = table(0, FULL)
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=1e9)
    assert [
        metrics[f"{name}_{domain}"] for name in ("precision", "recall", "f1") for domain in ("source", "target")
    ] == [0.0] * 6


@pytest.mark.parametrize(
    ("counts", "missing"),
    [
        pytest.param(
            {("source", "normal"): 9, ("source", "anomaly"): 8},
            {"auc_target", "precision_target", "recall_target", "f1_target"},
            id="no target clips",
        ),
        pytest.param(
            {("none", "normal"): 9, ("none", "anomaly"): 8},
            {"auc_target", "precision_target", "recall_target", "f1_target"},
            id="no domains at all count as source",
        ),
        pytest.param(
            {("source", "normal"): 9, ("target", "normal"): 5, ("source", "anomaly"): 8},
            {"precision_target", "recall_target", "f1_target"},
            id="no target anomalies: its AUC takes those of the source",
        ),
        pytest.param(
            {("target", "normal"): 9, ("target", "anomaly"): 8},
            {"auc_source", "precision_source", "recall_source", "f1_source"},
            id="no source clips",
        ),
    ],
)
def test_a_value_that_cannot_exist_is_none_and_left_out_of_the_mean(
    counts: dict[tuple[str, str], int], missing: set[str]
) -> None:
    frame = table(2, counts)
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=0.3)
    assert {name for name, value in metrics.items() if value is None} == missing
    known = [metrics[name] for name in AREAS if name not in missing]
    assert metrics["hmean"] == pytest.approx(len(known) / sum(1 / value for value in known if value))


@pytest.mark.parametrize("condition", ["unknown", "normal", "anomaly"])
def test_a_set_without_both_labels_has_no_metrics(condition: str) -> None:
    frame = table(3, {("source", condition): 9, ("target", condition): 9})
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=0.3)
    assert {name for name, value in metrics.items() if value is not None} == {"threshold"}


def test_no_clips_no_metrics() -> None:
    metrics = official_metrics(table(0, FULL).head(0), [], threshold=0.3)
    assert {name for name, value in metrics.items() if value is not None} == {"threshold"}
    assert set(metrics) == set(official_metrics(table(0, FULL), table(0, FULL)["score"].tolist(), threshold=0.3))


def test_unlabelled_clips_beside_labelled_ones_change_nothing() -> None:
    frame = table(4, FULL)
    more = pd.concat([frame, table(5, {("source", "unknown"): 9, ("none", "unknown"): 9})])
    plain = official_metrics(frame, frame["score"].tolist(), threshold=0.3)
    assert official_metrics(more, more["score"].tolist(), threshold=0.3) == plain


def test_sections_are_combined_by_the_harmonic_mean() -> None:
    sections = [table(seed, FULL, section=f"0{seed}") for seed in range(3)]
    frame = pd.concat(sections).sample(frac=1, random_state=0)
    metrics = official_metrics(frame, frame["score"].tolist(), threshold=0.3)
    single = [official_metrics(s, s["score"].tolist(), threshold=0.3) for s in sections]
    for name in AREAS:
        assert metrics[name] == pytest.approx(3 / sum(1 / s[name] for s in single))
    assert metrics["hmean"] == pytest.approx(9 / sum(1 / s[name] for s in single for name in AREAS))
    assert metrics["f1_source"] == pytest.approx(np.mean([s["f1_source"] for s in single]))
    assert metrics["threshold"] == 0.3


def test_a_section_is_never_compared_with_another() -> None:
    """Perfect within each section, though the normals of one score above the anomalies of the other."""
    quiet, loud = table(0, FULL, section="00"), table(0, FULL, section="01")
    quiet["score"] = (quiet["condition"] == "anomaly").astype(float)
    loud["score"] = 10.0 + (loud["condition"] == "anomaly")
    frame = pd.concat([quiet, loud])
    assert official_metrics(frame, frame["score"].tolist(), threshold=0.5)["hmean"] == pytest.approx(1.0)


def test_the_harmonic_mean_floors_at_float_epsilon() -> None:
    eps = float(np.finfo(np.float64).eps)
    assert eps == EPSILON
    assert harmonic_mean([0.0, 1.0, 1.0]) == pytest.approx(3 / (1 / eps + 2))
    assert harmonic_mean([0.0]) == pytest.approx(eps)
    assert harmonic_mean([0.6, 0.3]) == pytest.approx(0.4)
    assert harmonic_mean([0.6, None, 0.3]) == pytest.approx(0.4)
    assert harmonic_mean([None, None]) is None
    assert harmonic_mean([]) is None


def test_the_official_score_is_over_all_areas_of_all_machines() -> None:
    fan = {"auc_source": 0.9, "auc_target": 0.6, "pauc": 0.5, "hmean": 0.1}
    slider = {"auc_source": 0.8, "auc_target": None, "pauc": 0.7, "hmean": 0.1}
    expected = 5 / (1 / 0.9 + 1 / 0.6 + 1 / 0.5 + 1 / 0.8 + 1 / 0.7)
    assert official_score([fan, slider]) == pytest.approx(expected)
    assert math.isclose(official_score([fan]) or 0, 3 / (1 / 0.9 + 1 / 0.6 + 1 / 0.5))
