"""``masd evaluate``."""

import argparse
import json
from pathlib import Path

from masd.lifecycle import steps


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser("evaluate", help="evaluate a bundle on a machine's test clips, beside the controls")
    evaluate.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle folder")
    evaluate.add_argument("data", metavar="DATA/MACHINE", help="a folder, or s3://bucket/prefix/MACHINE")
    evaluate.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the report and its numbers"
    )
    evaluate.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.data.data_sets import local_machine

    folder = local_machine(options.data)
    steps.evaluate_recordings(options.bundle, folder.parent, folder.name, options.out)
    metrics = json.loads((options.out / "metrics.json").read_text(encoding="utf-8"))
    print(f"{'':22}{'AUC source':>12}{'AUC target':>12}{'pAUC':>8}{'hmean':>8}")
    for name, values in {**metrics["systems"], **metrics["controls"]}.items():
        cells = (values["auc_source"], values["auc_target"], values["pauc"], values["hmean"])
        print(f"{name:22}" + "".join(f"{_percent(v):>{w}}" for v, w in zip(cells, (12, 12, 8, 8), strict=True)))
    print(f"report: {options.out / 'report.html'}")
    return 0


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
