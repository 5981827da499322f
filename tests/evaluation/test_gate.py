"""The quality gate: who passes, who does not, and the sentence that says why."""

import numpy as np
import pandas as pd
import pytest

from masd.config import GateSettings
from masd.detection.controls import CONTROLS
from masd.evaluation.comparison import Contender, Interval, compare
from masd.evaluation.gate import GateVerdict, decide
from masd.evaluation.metrics import official_metrics

SETTINGS = GateSettings(bootstrap_samples=30)
PER_GROUP = 40


def test_set(seed: int = 0) -> pd.DataFrame:
    rows = [
        (f"section_00_{domain}_test_{condition}_{n:04d}.wav", "00", domain, condition)
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for n in range(PER_GROUP)
    ]
    return pd.DataFrame(rows, columns=["name", "section", "domain", "condition"])


test_set.__test__ = False


def scored(frame: pd.DataFrame, **separation: float) -> pd.DataFrame:
    """Each named column separates anomalies by so many standard deviations, on noise that all columns share."""
    noise = np.random.default_rng(7).normal(size=len(frame))
    anomaly = (frame["condition"] == "anomaly").to_numpy()
    columns = {name.replace("_", "-"): noise + by * anomaly for name, by in separation.items()}
    return frame.assign(**dict.fromkeys(CONTROLS, 0.0) | columns)


def scores(candidate: float, baseline: float = 0.0, statistics: float = 0.0) -> pd.DataFrame:
    return scored(
        test_set(),
        knn_feature=candidate,
        baseline_mse=baseline / 2,
        baseline_mahalanobis=baseline,
        mel_statistics=statistics,
    )


def judge(
    frame: pd.DataFrame,
    champion: dict[str, float] | None = None,
    settings: GateSettings = SETTINGS,
    seed: int = 0,
    threshold: float = 1.3,
) -> GateVerdict:
    """About one in ten normal clips is above 1.3, as it should be."""
    thresholds = {"knn-feature": threshold} | dict.fromkeys(CONTROLS, 1.3)
    contender = None if champion is None else Contender(champion, 1.3)
    version = None if champion is None else "7"
    return decide("fan", frame, "knn-feature", settings, contender, version, thresholds=thresholds, seed=seed)


def champion_of(frame: pd.DataFrame, separation: float) -> dict[str, float]:
    column = scored(frame[["name", "section", "domain", "condition"]], champion=separation)["champion"]
    return dict(zip(frame["name"], column, strict=True))


def checks(verdict: GateVerdict) -> dict[str, bool]:
    return {check.name: check.passed for check in verdict.checks}


def test_a_good_candidate_passes_and_the_sentence_says_how_good() -> None:
    frame = scores(2.0, baseline=1.0, statistics=1.0)
    verdict = judge(frame)
    assert verdict.passed and verdict.decision == "promote"
    assert checks(verdict) == {"chance": True, "normal clips": True, "official baseline": True, "mel-statistics": True}
    value = official_metrics(frame, frame["knn-feature"].tolist(), 0.0)["hmean"]
    assert f"{value:.3f}" in verdict.sentence
    assert verdict.sentence.startswith("fan: the new model passes: knn-feature") and verdict.sentence.endswith(".")


def test_worse_than_chance_is_refused() -> None:
    verdict = judge(scores(-1.0, baseline=-3.0, statistics=-3.0))
    assert not verdict.passed
    assert checks(verdict) == {"chance": False, "normal clips": True, "official baseline": True, "mel-statistics": True}
    assert "is not above chance" in verdict.sentence and "official baseline" not in verdict.sentence


def test_a_lucky_detector_without_skill_is_refused() -> None:
    """The bound is what counts, not the value: 0.53 on 160 clips may well be chance, and here it is."""
    frame = scores(0.0)
    value = official_metrics(frame, frame["knn-feature"].tolist(), 0.0)["hmean"]
    verdict = judge(frame)
    assert value > 0.52
    assert verdict.checks[0].name == "chance" and verdict.checks[0].candidate < 0.5
    assert not verdict.passed


def test_the_bound_lies_below_the_value_and_falls_with_confidence() -> None:
    frame = scores(1.0)
    value = official_metrics(frame, frame["knn-feature"].tolist(), 0.0)["hmean"]
    bounds = [
        judge(frame, settings=GateSettings(bootstrap_samples=60, confidence=confidence)).checks[0].candidate
        for confidence in (0.5, 0.9, 0.99)
    ]
    assert value > bounds[0] > bounds[1] > bounds[2] > 0.5


@pytest.mark.parametrize(
    ("reference", "name"),
    [({"baseline": 2.5}, "official baseline"), ({"statistics": 2.5}, "mel-statistics")],
)
def test_worse_than_a_control_is_refused_by_its_name(reference: dict[str, float], name: str) -> None:
    verdict = judge(scores(1.0, **reference))
    assert not verdict.passed
    assert [check for check, passed in checks(verdict).items() if not passed] == [name]
    assert f"more than 0.05 below {name}" in verdict.sentence


def test_the_better_of_the_two_baselines_counts() -> None:
    frame = scored(test_set(), knn_feature=1.0, baseline_mse=2.5, baseline_mahalanobis=-1.0)
    assert not checks(judge(frame))["official baseline"]


def test_equal_to_all_references_passes() -> None:
    frame = scores(1.5, baseline=1.5, statistics=1.5)
    assert judge(frame, champion_of(frame, 1.5)).passed


def test_all_reasons_are_named_together() -> None:
    verdict = judge(scores(-1.0, baseline=1.0, statistics=1.0))
    assert [name for name, passed in checks(verdict).items() if passed] == ["normal clips"]
    for reason in ("chance", "official baseline", "mel-statistics"):
        assert reason in verdict.sentence
    assert verdict.sentence.count("\n") == 0


@pytest.mark.parametrize("control", [True, False])
def test_margins_are_the_settings(control: bool) -> None:
    frame = scores(1.0, statistics=1.4 if control else 0.0)
    champion = None if control else champion_of(frame, 1.4)
    values = [official_metrics(scores(by), scores(by)["knn-feature"].tolist(), 0.0)["hmean"] for by in (1.0, 1.4)]
    gap = values[1] - values[0]
    option = "control_margin" if control else "production_margin"
    for margin, passes in ((gap - 0.001, False), (gap + 0.001, True)):
        assert judge(frame, champion, GateSettings(bootstrap_samples=20, **{option: margin})).passed is passes


@pytest.mark.parametrize(
    ("champion", "decision", "says"),
    [
        (1.0, "promote", "it is better than version 7 in production, by +0."),
        (
            1.5,
            "promote",
            "cannot be distinguished from version 7 in production, +0.000 (90% interval +0.000 to +0.000)",
        ),
        (2.5, "refuse", "more than 0.02 below version 7 in production"),
    ],
)
def test_the_champion_is_beaten_equalled_or_not(champion: float, decision: str, says: str) -> None:
    frame = scores(1.5)
    verdict = judge(frame, champion_of(frame, champion))
    assert verdict.decision == decision and verdict.passed is (decision == "promote")
    assert checks(verdict)["version 7 in production"] is verdict.passed
    assert verdict.champion_version == "7" and says in verdict.sentence
    assert "due to chance" not in verdict.sentence  # that much worse is no chance


def test_an_equal_candidate_ships_because_it_is_fresher() -> None:
    """Equal on average, not clip by clip: two trainings of the same recipe."""
    frame = scores(1.5)
    rng = np.random.default_rng(3)
    champion = _another_training(frame, rng, spread=0.3)
    frame["knn-feature"] = list(_another_training(frame, rng, spread=0.3).values())
    verdict = judge(frame, champion)
    assert verdict.difference is not None and verdict.difference.low < 0.0 < verdict.difference.high
    assert verdict.decision == "promote"
    assert verdict.sentence.endswith(", and the newer model is preferred.")


def _another_training(
    frame: pd.DataFrame, rng: np.random.Generator, spread: float, shift: float = 0.0
) -> dict[str, float]:
    anomaly = (frame["condition"] == "anomaly").to_numpy()
    other = frame["knn-feature"].to_numpy() + rng.normal(scale=spread, size=len(frame)) + shift * anomaly
    return dict(zip(frame["name"], other, strict=True))


def test_worse_within_the_margin_is_said() -> None:
    frame = scores(1.5)
    verdict = judge(frame, champion_of(frame, 1.55), GateSettings(bootstrap_samples=200, production_margin=0.1))
    assert verdict.decision == "promote"
    assert "it is worse than version 7 in production, by -0." in verdict.sentence
    assert "within the margin of 0.1" in verdict.sentence


def test_in_doubt_production_stays() -> None:
    frame = scores(1.5).groupby(["domain", "condition"]).head(8).reset_index(drop=True)
    champion = _another_training(frame, np.random.default_rng(5), spread=0.8, shift=0.6)
    verdict = judge(frame, champion, GateSettings(bootstrap_samples=200))
    assert verdict.difference is not None and verdict.difference.value < -0.02 < 0.0 < verdict.difference.high
    assert verdict.decision == "refuse"
    assert verdict.sentence.endswith("the difference may be due to chance, and the version in production is kept.")


def test_manual_approval_asks_only_for_what_passes() -> None:
    settings = GateSettings(bootstrap_samples=30, approval="manual")
    asked = judge(scores(2.0), settings=settings)
    assert asked.passed and asked.decision == "ask"
    assert asked.sentence.startswith(
        "fan: the new model passes and awaits approval (masd registry promote): knn-feature reaches"
    )
    assert judge(scores(-1.0), settings=settings).decision == "refuse"


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_model_that_gives_no_number_is_refused(broken: float) -> None:
    frame = scores(2.0)
    frame.loc[[0, 5, 9], "knn-feature"] = broken
    verdict = judge(frame, champion_of(frame, 1.0))
    assert verdict.decision == "refuse" and verdict.checks == ()
    reason = "the model is broken: knn-feature gives no finite score for 3 of 160 test clips"
    assert verdict.sentence == f"fan: the new model is refused: {reason}."


def test_a_model_that_gives_one_score_is_refused() -> None:
    verdict = judge(scores(2.0).assign(**{"knn-feature": 0.7}))
    assert verdict.decision == "refuse"
    assert (
        verdict.sentence
        == "fan: the new model is refused: the model is broken: knn-feature gives all 160 test clips the same score."
    )


def test_a_model_that_flags_all_normal_clips_is_refused_however_well_it_ranks() -> None:
    """As one of another machine does: everything sounds new to it, and anomalies still a little more so."""
    verdict = judge(scores(2.0), threshold=-10.0)
    assert verdict.decision == "refuse"
    assert [name for name, passed in checks(verdict).items() if not passed] == ["normal clips"]
    assert "it flags 100% of the normal source clips, but the best reference flags only 3%" in verdict.sentence
    assert "check that it was trained on recordings of this machine" in verdict.sentence


def test_that_all_models_flag_the_normal_clips_is_no_reason_to_refuse() -> None:
    """As where the microphone has been changed since the training clips were recorded."""
    frame = scores(2.0)
    moved = frame.assign(**{name: frame[name] + 10.0 for name in ("knn-feature", *CONTROLS)})
    assert checks(judge(moved))["normal clips"]
    assert not checks(judge(moved, champion_of(frame, 1.0)))["normal clips"]  # the champion does not flag them
    target = frame.assign(**{"knn-feature": frame["knn-feature"] + 10.0 * (frame["domain"] == "target")})
    assert checks(judge(target))["normal clips"]  # few training clips: those it may well flag


def test_the_difference_is_paired() -> None:
    """Noise that both models share cancels: the interval of the difference is far narrower than that of a value."""
    frame = scores(1.0).assign(champion=lambda rows: list(champion_of(rows, 1.1).values()))
    found = compare(frame, "knn-feature", "champion", confidence=0.9, samples=300, seed=0)
    assert found is not None

    def width(interval: Interval) -> float:
        return interval.high - interval.low

    assert width(found.difference["hmean"]) < 0.5 * width(found.challenger["hmean"])
    for name, interval in found.difference.items():
        assert interval.value == pytest.approx(found.challenger[name].value - found.champion[name].value)


def test_the_paired_bootstrap_by_another_path() -> None:
    """Resample clips one set at a time, measure both with the plain metrics, subtract."""
    frame = scores(1.0).assign(
        champion=lambda rows: list(_another_training(rows, np.random.default_rng(1), 0.7).values())
    )
    found = compare(frame, "knn-feature", "champion", confidence=0.9, samples=2000, seed=0)
    assert found is not None
    rng = np.random.default_rng(99)
    groups = list(frame.groupby(["domain", "condition"]).indices.values())
    differences = []
    for _ in range(400):
        rows = np.concatenate([rng.choice(group, size=len(group)) for group in groups])
        drawn = frame.iloc[rows]
        ours, theirs = (official_metrics(drawn, drawn[name], 0.0)["hmean"] for name in ("knn-feature", "champion"))
        differences.append((ours or 0.0) - (theirs or 0.0))
    assert found.resampled.mean() == pytest.approx(np.mean(differences), abs=0.01)
    assert found.resampled.std() == pytest.approx(np.std(differences), rel=0.15)
    low, high = np.quantile(differences, [0.05, 0.95])
    interval = found.difference["hmean"]
    assert (interval.low, interval.high) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))


def test_the_champion_is_compared_on_the_clips_that_it_has_scored() -> None:
    """It fails on clips that the candidate never had to be compared on: only common clips count."""
    frame = scores(1.5)
    champion = champion_of(frame, 1.5)
    half = {name: value for number, (name, value) in enumerate(champion.items()) if number % 2}
    verdict = judge(frame, half)
    (check,) = [check for check in verdict.checks if check.kind == "champion"]
    assert check.candidate == check.reference
    assert verdict.passed


@pytest.mark.parametrize("champion", [{}, {"of another test set.wav": 1.0}])
def test_a_champion_without_a_common_clip_cannot_be_compared(champion: dict[str, float]) -> None:
    verdict = judge(scores(1.5), champion)
    assert not verdict.passed
    assert "version 7 in production" in verdict.sentence and "gives no score for any labelled clip" in verdict.sentence


@pytest.mark.parametrize("condition", ["unknown", "normal"])
def test_a_set_that_cannot_judge_refuses(condition: str) -> None:
    frame = scores(2.0).assign(condition=condition)
    verdict = judge(frame, champion_of(frame, 0.0))
    assert not verdict.passed and verdict.checks == ()
    assert "must have clips labelled normal and clips labelled anomalous" in verdict.sentence


def test_unlabelled_clips_beside_labelled_ones_change_nothing() -> None:
    frame = scores(1.5, baseline=1.0)
    blind = frame.assign(condition="unknown", name="blind_" + frame["name"])
    assert judge(pd.concat([frame, blind], ignore_index=True)) == judge(frame)


def test_an_unlabelled_section_beside_a_labelled_one_changes_nothing() -> None:
    frame = scores(1.5, baseline=1.0)
    blind = frame.assign(condition="unknown", section="01", name="blind_" + frame["name"])
    both = judge(pd.concat([frame, blind], ignore_index=True))
    assert both.passed
    assert [check.reference for check in both.checks] == [check.reference for check in judge(frame).checks]


@pytest.mark.parametrize("domain", ["source", "none"])
def test_machines_without_target_clips_are_judged_by_what_there_is(domain: str) -> None:
    frame = scores(2.0)
    frame = frame[frame["domain"] == "source"].assign(domain=domain).reset_index(drop=True)
    verdict = judge(frame)
    assert verdict.passed
    assert 0.5 < verdict.checks[0].candidate < 1.0


def test_deterministic_from_the_seed_whatever_the_order_of_rows() -> None:
    frame = scores(1.0, baseline=0.5)
    assert judge(frame, seed=3) == judge(frame, seed=3)
    bounds = {judge(frame, seed=seed).checks[0].candidate for seed in (3, 4)}
    assert len(bounds) > 1  # the seed is used
    assert max(bounds) - min(bounds) < 0.05
    np.random.seed(1)
    assert judge(frame, seed=3).checks[0].candidate in bounds


def test_every_domain_and_condition_stays_in_the_bootstrap() -> None:
    """One clip a group: resampled as a whole they could miss a class; within groups each sample is the set itself."""
    frame = scores(3.0).groupby(["domain", "condition"]).head(1).reset_index(drop=True)
    frame["knn-feature"] = (frame["condition"] == "anomaly").astype(float)
    assert judge(frame).checks[0].candidate == pytest.approx(1.0)
