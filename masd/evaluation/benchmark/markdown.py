"""The benchmark's tables as Markdown, in the layout of the paper's Table 1."""

from collections.abc import Iterable, Sequence

from masd.errors import one_line
from masd.evaluation.benchmark.differences import PairedDifference
from masd.evaluation.benchmark.findings import signed
from masd.evaluation.benchmark.scores import DEFAULT, STATISTICS, baseline_label, label
from masd.evaluation.benchmark.table import BenchmarkTable, Spread
from masd.evaluation.metrics import AREAS
from masd.evaluation.pages.html import DASH, points


def scores_table(table: BenchmarkTable) -> str:
    """One row per method: AUC source / AUC target / pAUC - hmean (SD) of each machine, official score, and the lowest
    AUC of any domain.
    """
    rows = []
    for method in table.methods:
        official, domains = table.official.get(method), table.domains[method]
        cells = [_machine(table.spreads.get((machine, method))) for machine in table.machines]
        score = f"{_spread(official.spread)}{_machines(table, official.estimate.machines)}" if official else DASH
        worst = f"{points(domains[0].auc)} {domains[0].machine} {domains[0].domain}" if domains else DASH
        rows.append([label(method), *cells, score, worst])
    return _table(["AUC source / AUC target / pAUC - hmean", *table.machines, "official score", "lowest AUC"], rows)


def differences_table(table: BenchmarkTable) -> str:
    """One row per machine: the default against the better official baseline and against mel-statistics; the official
    score last.
    """
    to_baseline, to_statistics = table.differences.of_default(), table.differences.to_statistics
    rows = []
    for machine in (*table.machines, None):
        baseline, statistics = to_baseline.get(machine), to_statistics.get(machine)
        reference = baseline_label(baseline.reference) if baseline else DASH
        name = "official score" if machine is None else machine
        rows.append([name, reference, _difference(baseline), _difference(statistics)])
    return _table([DEFAULT, "better baseline", f"{DEFAULT} minus it", f"{DEFAULT} minus {STATISTICS}"], rows)


def methods_table(table: BenchmarkTable) -> str:
    """One row per method: its difference to the better official baseline on each machine and in the official score."""
    differences = table.differences
    found = {(machine, each.method): each for machine, every in differences.to_baseline.items() for each in every}
    rows = [
        [label(method)]
        + [
            "reference" if method == differences.reference(machine) else _difference(found.get((machine, method)))
            for machine in (*table.machines, None)
        ]
        for method in table.methods
    ]
    return _table(["minus the better baseline", *table.machines, "official score"], rows)


def _machine(spreads: dict[str, Spread | None] | None) -> str:
    if spreads is None or spreads["hmean"] is None:
        return DASH
    areas = " / ".join(points(spread.mean) if (spread := spreads[name]) else DASH for name in AREAS)
    return f"{areas} - {_spread(spreads['hmean'])}"


def _spread(spread: Spread) -> str:
    return points(spread.mean) + (f" ({points(spread.sd)})" if spread.sd is not None else "")


def _machines(table: BenchmarkTable, machines: Sequence[str]) -> str:
    return "" if len(machines) == len(table.machines) else f" on {len(machines)} machine{'s' * (len(machines) > 1)}"


def _difference(difference: PairedDifference | None) -> str:
    if difference is None:
        return DASH
    estimate = difference.estimate
    return f"{signed(estimate.mean)} ({signed(estimate.low)} to {signed(estimate.high)})"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[_cell(cell) for cell in row] for row in (header, *rows)]
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
