"""Evaluations and verdicts of all machines -> one report."""

from kfp import dsl

from components.base import component


@component
def report(
    evaluations: dsl.Input[list[dsl.Artifact]],
    verdicts: dsl.Input[list[dsl.Artifact]],
    comparisons: dsl.Input[list[dsl.HTML]],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Make one report from the evaluations and the gates' verdicts of all machines.

    Args:
        evaluations: The evaluations, one per machine.
        verdicts: The gates' verdicts, in the same order.
        comparisons: The pages that compare candidate and production version, in the same order.
        report: report.html, summary.json and a folder per machine.
        page: The report's first page, for the run's page.
    """
    from pathlib import Path

    from components.step import step

    with step("report"):
        import shutil

        from masd.evaluation.pages.summary import write_summary

        out = Path(report.path)
        folders, files, pages = ([Path(item.path) for item in each] for each in (evaluations, verdicts, comparisons))
        write_summary(folders, files, out, pages)
        shutil.copyfile(out / "report.html", page.path)
