"""``masd data check``."""

import argparse
import json
from pathlib import Path

from masd.cli.common import WORK_FAILED, add_settings, settings_from
from masd.progress import ConsoleProgress


def add_action(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = actions.add_parser(
        "check",
        help="check the recordings of a data set before training",
        description="Read the recordings of a machine, or of all machines in a folder, and print counts, "
        "formats, levels, copies, silent and clipped clips, what is left out and why. The exit code is 1 if the "
        "recordings of a machine cannot be used for training.",
    )
    check.add_argument("folder", metavar="FOLDER", help="a machine's folder, or the folder of all machines; or s3://")
    check.add_argument("--json", action="store_true", help="print one JSON object per machine")
    check.add_argument("--out", type=Path, metavar="PAGE", help="also write a page, such as check.html")
    add_settings(check, seed=False)
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from masd.data.check.machine import MachineCheck, check_machine
    from masd.data.check.machines import machine_folders

    settings = settings_from(options)
    checks: list[MachineCheck] = []
    for folder in machine_folders(options.folder):
        with ConsoleProgress(f"check {folder.resolve().name}") as progress:
            checks.append(check_machine(folder, settings, progress))
        print(json.dumps(checks[-1].to_dict()) if options.json else _lines(checks[-1]), flush=True)
    if options.out is not None:
        from masd.evaluation.pages.data import write_data_page

        write_data_page(checks, options.out)
        if not options.json:
            print(f"page: {options.out}")
    return 0 if all(check.trainable for check in checks) else WORK_FAILED


def _lines(check: "MachineCheck") -> str:  # type: ignore[name-defined]  # noqa: F821
    state = "ready for training" if check.trainable else "cannot be used for training"
    lines = [f"{check.machine_type}: {state}"]
    if check.data is not None:
        about = check.to_dict()
        counted = ", ".join(
            " ".join(str(row[name]) for name in ("clips", "split", "domain", "condition") if row[name] != "none")
            for row in about["counts"]
        )
        rates = ", ".join(about["sample_rates"])
        lines.append(f"  {counted}; {about['total_s'] / 60:.1f} min at {rates} Hz")
    return "\n".join([*lines, *(f"  {finding.level}: {finding.text}" for finding in check.findings)])
