"""The benchmark's files: every cell as CSV, the tables as Markdown, and one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from masd.errors import one_line
from masd.evaluation.benchmark.differences import PairedDifference
from masd.evaluation.benchmark.findings import CHANCE, headline, missing, signed
from masd.evaluation.benchmark.markdown import differences_table, methods_table, scores_table
from masd.evaluation.benchmark.plots import ablation, forest, machine_scores, official_scores
from masd.evaluation.benchmark.resamples import CONFIDENCE, SAMPLES
from masd.evaluation.benchmark.scores import DEFAULT, GROUPS, STATISTICS, BenchmarkScores, baseline_label, label
from masd.evaluation.benchmark.table import BenchmarkTable, build_table, csv_rows
from masd.evaluation.pages.html import render, svg_uri
from masd.files import write_text

__all__ = ["BenchmarkAbout", "BenchmarkScores", "write_benchmark"]


@dataclass(frozen=True)
class BenchmarkAbout:
    """How the benchmark was run: what was asked for, the training schedule in words, versions by name, remarks."""

    command: str
    created: str
    machines: Sequence[str]
    seeds: Sequence[int]
    schedule: str
    versions: Mapping[str, str]
    notes: Sequence[str]


def write_benchmark(results: Sequence[BenchmarkScores], out: Path, about: BenchmarkAbout) -> None:
    """Write ``benchmark.csv``, ``benchmark.md`` and ``benchmark.html`` below ``out``, each whole or not at all.

    Results may be a part of what was asked for: the pages name what is missing.

    :raises MasdError: nothing to show, a machine twice, an unknown method, or unusable scores.
    """
    table = build_table(results)
    absent = missing(table, about.machines, about.seeds)
    files = {
        "benchmark.csv": csv_rows(table).to_csv(index=False, lineterminator="\n"),
        "benchmark.md": _markdown(table, about, absent),
        "benchmark.html": _page(table, about, absent),
    }
    for name, text in files.items():
        write_text(out / name, text)


def _how(about: BenchmarkAbout) -> str:
    seeds = ", ".join(str(seed) for seed in about.seeds)
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return f"Seeds {seeds}. {about.schedule} Made {about.created} with {versions}."


def _intervals(table: BenchmarkTable) -> str:
    """What the differences are taken over."""
    alone = (
        " With one seed they do not include the variation between seeds."
        if len({seed for _, _, seed in table.cells}) == 1
        else ""
    )
    return (
        f"Differences are percentage points of the harmonic mean, on the same clips and seeds. Their {CONFIDENCE:.0%} "
        f"intervals come from {SAMPLES} resamples of the test clips (within section, domain and condition) and of the "
        f"seeds.{alone} The "
        "better of the two official baselines is the one with the higher mean over seeds, machine by machine."
    )


def _markdown(table: BenchmarkTable, about: BenchmarkAbout, absent: Iterable[str]) -> str:
    parts = [
        "# Benchmark",
        one_line(headline(table)),
        "\n".join(f"* {one_line(sentence)}" for sentence in (*absent, *about.notes)),
        "## Scores",
        "Per cent, mean over seeds (SD over seeds); 50 is chance. The official score is the harmonic mean over "
        "machines of all AUC source, AUC target and pAUC.",
        scores_table(table),
        "## Paired differences",
        _intervals(table),
        differences_table(table),
        methods_table(table),
        "## How it was made",
        f"    {one_line(about.command)}",
        one_line(_how(about)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _page(table: BenchmarkTable, about: BenchmarkAbout, absent: Sequence[str]) -> str:
    to_baseline, to_statistics = table.differences.of_default(), table.differences.to_statistics
    to_baseline_by_name = _named(to_baseline, table)
    overall = table.differences.to_baseline.get(None, ())
    return render(
        "benchmark.html",
        table=table,
        about=about,
        how=_how(about),
        headline=headline(table),
        absent=absent,
        intervals=_intervals(table),
        confidence=f"{CONFIDENCE:.0%}",
        groups={name: [method for method in group if method in table.methods] for name, group in GROUPS.items()},
        shipped=DEFAULT,
        statistics=STATISTICS,
        chance=CHANCE,
        reference=table.differences.reference(None),
        differences={
            (machine, each.method): each.estimate
            for machine, found in table.differences.to_baseline.items()
            for each in found
        },
        columns=(None, *table.machines),  # the official score in sight without scrolling
        label=label,
        signed=signed,
        official_plot=_uri(official_scores(table)),
        ablation_plot=_uri(ablation(table)),
        machine_plots={machine: _uri(machine_scores(table, machine)) for machine in table.machines},
        baseline_plot=_uri(
            forest(
                to_baseline_by_name,
                f"{DEFAULT} minus baseline, points",
                beside={name: f" ({baseline_label(each.reference)})" for name, each in to_baseline_by_name.items()},
            )
        ),
        statistics_plot=_uri(
            forest(_named(to_statistics, table), f"{DEFAULT} minus {STATISTICS}, points", margin=True)
        ),
        methods_plot=_uri(forest({label(each.method): each for each in overall}, "method minus baseline, points")),
    )


def _named(differences: Mapping[str | None, PairedDifference], table: BenchmarkTable) -> dict[str, PairedDifference]:
    """Rows of a forest plot: machines in their order, the official score last."""
    rows = (*table.machines, None)
    return {machine or "official score": differences[machine] for machine in rows if machine in differences}


def _uri(svg: str | None) -> str | None:
    return None if svg is None else svg_uri(svg)
