"""The layout of the real report, without its pages."""

import json
import shutil
from pathlib import Path


def write_summary(
    evaluations: list[Path], verdicts: list[Path], out: Path, comparisons: list[Path], failed: object = None
) -> None:
    machines = []
    for evaluation, verdict, comparison in zip(evaluations, verdicts, comparisons, strict=True):
        machine = json.loads((evaluation / "metrics.json").read_text())["machine_type"]
        assert json.loads(verdict.read_text())["machine_type"] == machine
        shutil.copytree(evaluation, out / machine)
        shutil.copyfile(verdict, out / machine / "verdict.json")
        shutil.copyfile(comparison, out / machine / "comparison.html")
        machines.append(machine)
    (out / "report.html").write_text("<html></html>")
    (out / "summary.json").write_text(json.dumps({"machines": machines, "failed": failed}))
