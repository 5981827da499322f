"""The results of a benchmark in sentences: how good the default is, and which results are missing."""

from collections.abc import Iterable, Sequence

from masd.evaluation.benchmark.resamples import CONFIDENCE
from masd.evaluation.benchmark.scores import DEFAULT, METHODS, STATISTICS, baseline_label
from masd.evaluation.benchmark.table import BenchmarkTable
from masd.evaluation.pages.html import points

CHANCE = 0.5
STATISTICS_MARGIN = 0.02


def signed(fraction: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"{round(100.0 * fraction, 1) + 0.0:+.1f}"  # + 0.0: no minus before a zero


def headline(table: BenchmarkTable) -> str:
    """One sentence: does the default beat the better official baseline, on how many machines and by how much; is it
    below chance anywhere; is it clearly below mel-statistics anywhere.
    """
    if not table.domains.get(DEFAULT):
        return "The default has no result yet, so it cannot be compared with the official baselines."
    return f"The default {_against_baseline(table)}; {_against_chance(table)}, and {_against_statistics(table)}."


def missing(table: BenchmarkTable, machines: Iterable[str], seeds: Iterable[int]) -> list[str]:
    """What was asked for and has no result, in sentences: machines, methods, single cells, and labels."""
    said = []
    if absent := [machine for machine in machines if machine not in table.machines]:
        said.append(f"There are no results for {', '.join(absent)}.")
    if methods := [method for method in METHODS if method not in table.methods]:
        said.append(f"No machine has results of {', '.join(methods)}.")
    wanted = sorted(set(seeds) | {seed for _, _, seed in table.cells})
    measured = {machine for (machine, _, _), metrics in table.cells.items() if metrics["hmean"] is not None}
    for machine in table.machines:
        gaps: dict[str, list[str]] = {}
        for method in table.methods:
            have = table.seeds(machine, method)
            if lacking := ", ".join(str(seed) for seed in wanted if seed not in have):
                gaps.setdefault(lacking, []).append(method)
        said += [
            f"{machine} has no result of {', '.join(found)} with seed {lacking}." for lacking, found in gaps.items()
        ]
        if machine not in measured:
            said.append(
                f"The test clips of {machine} are not labelled both normal and anomalous, so nothing can be measured."
            )
    return said


def _against_baseline(table: BenchmarkTable) -> str:
    found = table.differences.of_default()
    by_machine = {machine: each for machine, each in found.items() if machine is not None}
    if not by_machine:
        return "was not compared with an official baseline"
    ahead = sum(each.estimate.mean > 0.0 for each in by_machine.values())
    ordered = sorted(by_machine, key=lambda machine: by_machine[machine].estimate.mean)
    extremes = [
        f"{signed(by_machine[name].estimate.mean)} on {name}" for name in dict.fromkeys((ordered[0], ordered[-1]))
    ]
    where = f"on {ahead} of {len(by_machine)} machines ({' to '.join(extremes)})"
    overall = found.get(None)
    if overall is None:
        return f"is ahead of the better official baseline {where}"
    estimate, baseline = overall.estimate, f"the better official baseline ({baseline_label(overall.reference)})"
    size = f"{100.0 * abs(estimate.mean):.1f} points"
    if estimate.low > 0.0:
        verdict = f"beats {baseline} by {size}"
    elif estimate.mean > 0.0:
        verdict = f"is not clearly better than {baseline}: {size} ahead"
    else:
        verdict = f"does not beat {baseline}: {size} behind"
    part = "" if set(estimate.machines) == set(table.machines) else f" over {', '.join(estimate.machines)}"
    interval = f"{CONFIDENCE:.0%} interval {signed(estimate.low)} to {signed(estimate.high)}"
    return f"{verdict} in the official score{part} ({interval}), ahead {where}"


def _against_chance(table: BenchmarkTable) -> str:
    below = [
        f"{area.machine} {area.domain} ({points(area.auc)})" for area in table.domains[DEFAULT] if area.auc < CHANCE
    ]
    return f"its AUC is below chance on {_listed(below)}" if below else "its AUC is nowhere below chance"


def _against_statistics(table: BenchmarkTable) -> str:
    found = {machine: each for machine, each in table.differences.to_statistics.items() if machine is not None}
    if not found:
        return f"there is no {STATISTICS} to compare it with"
    below = [
        f"{machine} ({signed(each.estimate.mean)})"
        for machine, each in found.items()
        if each.estimate.mean < -STATISTICS_MARGIN
    ]
    margin = f"more than {100.0 * STATISTICS_MARGIN:.0f} points below {STATISTICS}"
    return f"it is {margin} on {_listed(below)}" if below else f"it is nowhere {margin}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
