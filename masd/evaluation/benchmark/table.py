"""The benchmark in numbers: every cell, means over seeds, the official score, and paired differences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from masd.evaluation.benchmark.differences import Differences, paired_differences
from masd.evaluation.benchmark.resamples import Estimate, Resamples
from masd.evaluation.benchmark.scores import METHODS, BenchmarkScores, checked
from masd.evaluation.metrics import AREAS, DOMAINS, Metrics, official_metrics, official_score

COLUMNS = (*AREAS, "hmean")

Cells = dict[tuple[str, str, int], Metrics]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds, as fractions; one seed has no deviation."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Official:
    """The official score of a method over ``estimate.machines`` and ``estimate.seeds``."""

    spread: Spread
    estimate: Estimate


@dataclass(frozen=True)
class DomainArea:
    """AUC of one domain of one machine, mean over seeds."""

    machine: str
    domain: str
    auc: float


@dataclass(frozen=True)
class BenchmarkTable:
    """All numbers of a benchmark, as fractions. What the results cannot give is absent, or None within a cell.

    ``cells`` are the official metrics by machine, method and seed; ``spreads`` their mean and deviation over seeds by
    machine and method; ``domains`` the AUC of every domain and machine by method, lowest first.
    """

    machines: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Cells
    spreads: dict[tuple[str, str], dict[str, Spread | None]]
    official: dict[str, Official]
    domains: dict[str, tuple[DomainArea, ...]]
    differences: Differences

    def seeds(self, machine: str, method: str) -> list[int]:
        """The seeds of a finished cell, in order."""
        return [seed for name, of, seed in self.cells if (name, of) == (machine, method)]


def build_table(results: Sequence[BenchmarkScores]) -> BenchmarkTable:
    """Measure all finished cells.

    :raises MasdError: nothing to show, a machine twice, an unknown method, or unusable scores.
    """
    results = checked(results)
    cells = {
        (result.machine, method, seed): official_metrics(result.clips, result.scores[method, seed], threshold=np.inf)
        for result in results
        for method, seed in sorted(result.scores, key=lambda key: (METHODS.index(key[0]), key[1]))
    }
    machines = tuple(result.machine for result in results)
    methods = tuple(method for method in METHODS if any(of == method for _, of, _ in cells))
    seeds: dict[tuple[str, str], list[Metrics]] = {}
    for (machine, method, _), metrics in cells.items():
        seeds.setdefault((machine, method), []).append(metrics)
    spreads = {key: {name: _spread(cell[name] for cell in found) for name in COLUMNS} for key, found in seeds.items()}
    resamples = Resamples(results)
    official = {method: found for method in methods if (found := _official(method, cells, resamples))}

    def level(machine: str | None, method: str) -> tuple[int, float] | None:
        if machine is None:  # an official score over more machines goes before one over fewer
            score = official.get(method)
            return (len(score.estimate.machines), score.spread.mean) if score else None
        hmean = spreads.get((machine, method), {}).get("hmean")
        return (1, hmean.mean) if hmean else None

    return BenchmarkTable(
        machines=machines,
        methods=methods,
        cells=cells,
        spreads=spreads,
        official=official,
        domains={method: _domains(method, machines, spreads) for method in methods},
        differences=paired_differences(machines, methods, resamples, level),
    )


def csv_rows(table: BenchmarkTable) -> pd.DataFrame:
    """``benchmark.csv``: one row per cell, in per cent; empty where a value cannot exist."""
    rows = [
        [*cell, *(None if (value := metrics[name]) is None else round(100.0 * value, 4) for name in COLUMNS)]
        for cell, metrics in table.cells.items()
    ]
    return pd.DataFrame(rows, columns=["machine", "method", "seed", *COLUMNS])


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None)


def _official(method: str, cells: Cells, resamples: Resamples) -> Official | None:
    estimate = resamples.estimate(None, method)
    if estimate is None:
        return None
    machines, seeds = estimate.machines, estimate.seeds
    spread = _spread(official_score(cells[machine, method, seed] for machine in machines) for seed in seeds)
    return Official(spread, estimate) if spread else None


def _domains(
    method: str, machines: Iterable[str], spreads: dict[tuple[str, str], dict[str, Spread | None]]
) -> tuple[DomainArea, ...]:
    """Lowest first."""
    areas = [
        DomainArea(machine, domain, area.mean)
        for machine in machines
        for domain in DOMAINS
        if (area := spreads.get((machine, method), {}).get(f"auc_{domain}"))
    ]
    return tuple(sorted(areas, key=lambda area: area.auc))
