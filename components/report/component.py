"""Evaluations and verdicts of all machines -> one report."""

from kfp import dsl

from components.base import component


@component
def report(
    evaluations: dsl.Input[list[dsl.Artifact]],
    verdicts: dsl.Input[list[dsl.Artifact]],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Gather one report from what every machine's evaluation and gate wrote.

    Args:
        evaluations: The evaluations, one per machine.
        verdicts: The gates' verdicts, in the same order.
        report: report.html, summary.json and a folder per machine.
        page: The report's first page, for the run's page.
    """
    from pathlib import Path

    from components.step import step

    with step("report"):
        import shutil

        from masd.evaluation.summary import write_summary

        out = Path(report.path)
        write_summary([Path(item.path) for item in evaluations], [Path(item.path) for item in verdicts], out)
        shutil.copyfile(out / "report.html", page.path)
