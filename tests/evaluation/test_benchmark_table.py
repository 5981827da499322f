"""The benchmark's numbers against an independent computation; what a part of the results gives; what is refused."""

import statistics
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from benchmark_results import SEEDS, make_clips, make_results

from masd.errors import MasdError
from masd.evaluation.benchmark import resamples as benchmark_resamples
from masd.evaluation.benchmark.scores import METHODS, BenchmarkScores, label
from masd.evaluation.benchmark.table import BenchmarkTable, DomainArea, Spread, build_table, csv_rows
from masd.evaluation.metrics import AREAS, areas, harmonic_mean, official_metrics

COLUMNS = (*AREAS, "hmean")
STRENGTHS = {
    "baseline-mse": 0.6,
    "baseline-mahalanobis": 1.2,
    "mel-statistics": 1.4,
    "recon/knn-score": 0.4,
    "default": 2.0,
}


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_resamples, "SAMPLES", 200)


def results() -> list[BenchmarkScores]:
    """The Mahalanobis baseline is the better one on fan and over all, the MSE baseline on valve."""
    valve = STRENGTHS | {"baseline-mse": 1.3, "baseline-mahalanobis": 0.9}
    plain = make_clips(domains=("none",))
    return [
        make_results("valve", valve),
        make_results("fan", STRENGTHS),
        make_results("ToyCar", STRENGTHS, clips=plain),
    ]


@pytest.fixture(scope="module")
def built() -> tuple[BenchmarkTable, dict[tuple[str, str, int], dict[str, float | None]]]:
    """The table, and every cell by the official metric."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_resamples, "SAMPLES", 200)
        table = build_table(results())
    expected = {
        (result.machine, method, seed): official_metrics(result.clips, scores, threshold=0.0)
        for result in results()
        for (method, seed), scores in result.scores.items()
    }
    return table, expected


Built = tuple[BenchmarkTable, dict[tuple[str, str, int], dict[str, float | None]]]


def test_a_row_a_cell_in_per_cent(built: Built) -> None:
    table, expected = built
    rows = csv_rows(table)
    assert list(rows.columns) == ["machine", "method", "seed", *COLUMNS]
    assert len(rows) == 3 * 5 * 3 == len(expected)
    assert list(rows["machine"].unique()) == ["fan", "ToyCar", "valve"]
    assert list(rows["method"][:15:3]) == list(STRENGTHS)  # the order of METHODS
    for row in rows.itertuples():
        for name in COLUMNS:
            value = expected[row.machine, row.method, row.seed][name]
            found = getattr(row, name)
            assert np.isnan(found) if value is None else found == pytest.approx(100 * value, abs=1e-4)
    assert rows["auc_target"].isna().sum() == 15


def test_means_and_deviations_over_seeds(built: Built) -> None:
    table, expected = built
    for machine in ("fan", "valve", "ToyCar"):
        for method in STRENGTHS:
            for name in COLUMNS:
                values = [expected[machine, method, seed][name] for seed in SEEDS]
                spread = table.spreads[machine, method][name]
                if values[0] is None:
                    assert spread is None
                    continue
                assert spread is not None and spread.sd is not None
                assert spread.mean == pytest.approx(statistics.mean(values))
                assert spread.sd == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert table.spreads["fan", "mel-statistics"]["hmean"].sd == 0.0


def test_the_official_score_is_over_all_areas_that_exist(built: Built) -> None:
    table, expected = built
    for method, official in table.official.items():
        by_seed = [
            harmonic_mean(expected[machine, method, seed][area] for machine in table.machines for area in AREAS)
            for seed in SEEDS
        ]
        assert official.spread.mean == pytest.approx(np.mean(by_seed))
        assert official.spread.sd == pytest.approx(np.std(by_seed, ddof=1), abs=1e-12)
        assert official.estimate.mean == pytest.approx(official.spread.mean, abs=1e-12)
        assert official.estimate.low < official.estimate.mean < official.estimate.high
        assert official.estimate.machines == table.machines and official.estimate.seeds == SEEDS


def test_differences_are_to_the_better_baseline_of_each_machine(built: Built) -> None:
    table, expected = built
    differences = table.differences
    references = {machine: differences.reference(machine) for machine in (*table.machines, None)}
    assert references["valve"] == "baseline-mse" and references["fan"] == references[None] == "baseline-mahalanobis"
    for machine in table.machines:
        reference = references[machine]
        assert [each.method for each in differences.to_baseline[machine]] == [
            m for m in table.methods if m != reference
        ]
        for each in differences.to_baseline[machine]:
            by_seed = [
                expected[machine, each.method, seed]["hmean"] - expected[machine, each.reference, seed]["hmean"]
                for seed in SEEDS
            ]
            assert each.reference == reference
            assert each.estimate.mean == pytest.approx(np.mean(by_seed), abs=1e-12)
            assert each.estimate.low <= each.estimate.mean <= each.estimate.high
    for each in differences.to_baseline[None]:
        means = [table.official[name].spread.mean for name in (each.method, each.reference)]
        assert each.estimate.mean == pytest.approx(means[0] - means[1], abs=1e-12)
    assert differences.of_default()[None].estimate.low > 0.0


def test_the_default_is_compared_with_mel_statistics(built: Built) -> None:
    table, _ = built
    assert set(table.differences.to_statistics) == {"fan", "valve", "ToyCar", None}
    for machine, difference in table.differences.to_statistics.items():
        assert (difference.method, difference.reference) == ("default", "mel-statistics")
        if machine is not None:
            ours, theirs = (table.spreads[machine, name]["hmean"] for name in ("default", "mel-statistics"))
            assert ours is not None and theirs is not None
            assert difference.estimate.mean == pytest.approx(ours.mean - theirs.mean, abs=1e-12)


def test_the_lowest_area_has_a_place(built: Built) -> None:
    table, _ = built
    for method, found in table.domains.items():
        means = {
            (machine, domain): spread.mean
            for machine in table.machines
            for domain in ("source", "target")
            if (spread := table.spreads[machine, method][f"auc_{domain}"])
        }
        assert len(found) == 5  # ToyCar has no target clips
        assert found[0] == DomainArea(*min(means, key=lambda place: means[place]), min(means.values()))
        assert {(area.machine, area.domain): area.auc for area in found} == means


def test_the_same_results_in_any_order_give_the_same_table(built: Built) -> None:
    shuffled = [replace(result, scores=dict(reversed(result.scores.items()))) for result in reversed(results())]
    assert build_table(shuffled) == built[0]


def test_a_machine_has_its_intervals_whatever_stands_beside_it(built: Built) -> None:
    alone = build_table(results()[:1]).differences.to_baseline["valve"]
    assert alone == built[0].differences.to_baseline["valve"]


def test_pairing_leaves_only_what_differs() -> None:
    """The same scores under two names: whatever is drawn, they do not differ."""
    result = make_results("fan", {"baseline-mse": 1.0})
    result.scores.update({("default", seed): 3.0 * scores for (_, seed), scores in list(result.scores.items())})
    found = build_table([result]).differences.of_default()
    assert [(each.estimate.low, each.estimate.mean, each.estimate.high) for each in found.values()] == [
        (0.0, 0.0, 0.0)
    ] * 2


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_interval_is_that_of_resamples_made_one_by_one(
    seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_resamples, "SAMPLES", 2000)
    result = make_results("fan", {"baseline-mse": 0.5, "default": 1.0}, seeds=seeds)
    found = build_table([result]).differences.of_default()["fan"].estimate
    is_target, anomaly = (result.clips["domain"] == "target").to_numpy(), _anomaly(result)
    rng = np.random.default_rng(5)
    groups = result.clips.groupby(["domain", "condition"]).indices.values()

    def hmean(method: str, seed: int) -> float:
        score = result.scores[method, seed][rows]
        value = harmonic_mean(areas(score, is_target[rows], ~anomaly[rows], anomaly[rows]).values())
        assert value is not None
        return value

    drawn = []
    for _ in range(250):
        rows = np.concatenate([rng.choice(group, len(group)) for group in groups])
        lead = {seed: hmean("default", seed) - hmean("baseline-mse", seed) for seed in seeds}
        drawn.append(np.mean([lead[seed] for seed in rng.choice(seeds, len(seeds))]))
    assert np.mean(drawn) == pytest.approx((found.low + found.high) / 2, abs=0.03)
    assert 0.91 < np.mean((drawn > np.float64(found.low)) & (drawn < np.float64(found.high))) < 0.985


def _anomaly(result: BenchmarkScores) -> npt.NDArray[np.bool_]:
    return (result.clips["condition"] == "anomaly").to_numpy()


def test_seeds_that_differ_widen_the_interval() -> None:
    result = make_results("fan", {"baseline-mse": 0.5, "default": 1.0}, seeds=(0, 1))
    calm = build_table([result]).differences.of_default()["fan"].estimate
    torn = {
        key: scores + (4.0 * _anomaly(result) if key == ("default", 1) else 0.0)
        for key, scores in result.scores.items()
    }
    wide = build_table([replace(result, scores=torn)]).differences.of_default()["fan"].estimate
    assert wide.high - wide.low > 1.5 * (calm.high - calm.low)


def test_a_part_of_the_results_is_measured_as_far_as_it_goes() -> None:
    fan, valve, gearbox = (make_results(machine, STRENGTHS) for machine in ("fan", "valve", "gearbox"))
    del fan.scores["default", 2]
    gearbox = replace(gearbox, scores={key: scores for key, scores in gearbox.scores.items() if key[0] != "default"})
    table = build_table([fan, valve, gearbox])
    default, baseline = table.official["default"].estimate, table.official["baseline-mse"].estimate
    assert (default.machines, default.seeds) == (("fan", "valve"), (0, 1))
    assert (baseline.machines, baseline.seeds) == (("fan", "gearbox", "valve"), SEEDS)
    against = table.differences.of_default()
    assert set(against) == {"fan", "valve", None}
    assert against["fan"].estimate.seeds == (0, 1) and against["valve"].estimate.seeds == SEEDS
    assert (against[None].estimate.machines, against[None].estimate.seeds) == (("fan", "valve"), (0, 1))
    assert ("gearbox", "default") not in table.spreads
    assert table.seeds("fan", "default") == [0, 1] and table.seeds("gearbox", "default") == []


def test_without_a_common_seed_there_is_no_difference() -> None:
    ours, theirs = (
        make_results("fan", {"default": 1.0}, seeds=(0,)),
        make_results("fan", {"baseline-mse": 1.0}, seeds=(1,)),
    )
    table = build_table([replace(ours, scores=ours.scores | theirs.scores)])
    assert table.differences.of_default() == {} and table.differences.to_statistics == {}
    assert table.spreads["fan", "default"]["hmean"] == Spread(
        pytest.approx(table.official["default"].spread.mean), None
    )


def test_machines_that_share_no_seed_have_no_official_score() -> None:
    table = build_table([make_results("fan", STRENGTHS, seeds=(0,)), make_results("valve", STRENGTHS, seeds=(1,))])
    assert table.official == {} and None not in table.differences.of_default()
    assert set(table.differences.of_default()) == {"fan", "valve"}


@pytest.mark.parametrize("condition", ["unknown", "normal"])
def test_a_machine_that_cannot_be_measured_takes_no_part(condition: str) -> None:
    blind = make_results("valve", STRENGTHS, clips=make_clips().assign(condition=condition))
    table = build_table([make_results("fan", STRENGTHS), blind])
    assert csv_rows(table).set_index("machine").loc["valve", list(COLUMNS)].isna().all(axis=None)
    assert table.official["default"].estimate.machines == ("fan",)
    assert set(table.differences.of_default()) == {"fan", None}
    only = build_table([blind])
    assert only.official == {} and only.domains["default"] == () and only.differences.to_baseline == {}


def test_methods_have_names_in_words() -> None:
    assert len(METHODS) == len({label(method) for method in METHODS}) == 18
    assert label("baseline-mahalanobis") == "baseline, Mahalanobis"
    assert label("recon+class+contr/lof-score") == "+ L_contr, lof-score"
    assert label("default") == "default"


def _changed(**scores: object) -> BenchmarkScores:
    result = make_results("fan", {"default": 1.0}, seeds=(0,))
    return replace(result, scores={(name, 0): np.asarray(value) for name, value in scores.items()})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no scores to show"),
        ([_changed()], "no scores to show"),
        ([_changed(default=np.zeros(60)), _changed(default=np.zeros(60))], "two results of fan"),
        ([_changed(ours=np.zeros(60))], "fan, ours, seed 0: no such method; there are baseline-mse, "),
        ([_changed(default=np.zeros(59))], "fan, default, seed 0: scores of shape (59,) for 60 clips"),
        ([_changed(default=np.full(60, np.nan))], "fan, default, seed 0: 60 scores are not finite"),
    ],
    ids=["nothing", "no cell", "a machine twice", "unknown method", "too few scores", "not a number"],
)
def test_what_cannot_be_used_is_refused_in_one_line(given: list[BenchmarkScores], said: str) -> None:
    with pytest.raises(MasdError) as raised:
        build_table(given)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_rows_of_a_frame_with_another_index_are_the_same() -> None:
    result = make_results("fan", STRENGTHS)
    other = replace(result, clips=result.clips.set_index(pd.Index(range(100, 160))))
    assert build_table([other]) == build_table([result])
