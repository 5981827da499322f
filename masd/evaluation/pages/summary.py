"""The evaluations and gate verdicts of all machines on one page, with the official score over them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from masd.errors import MasdError, one_line
from masd.evaluation.metrics import AREAS, official_score
from masd.evaluation.pages.html import render
from masd.files import json_text, replacing_folder, write_text

GROUPS = ("systems", "controls")
HEADLINE = ("hmean", *AREAS)


def write_summary(
    evaluations: Sequence[Path],
    verdicts: Sequence[Path],
    out: Path,
    comparisons: Sequence[Path] = (),
    failed: Mapping[str, str] | None = None,
) -> None:
    """Gather evaluation folders, verdict files and comparison pages of different machines in ``out``.

    ``out/`` gets a folder per machine (its evaluation, ``verdict.json`` and ``comparison.html``), ``summary.json`` and
    ``report.html``. A machine may be without a verdict, but not a verdict without its machine. There are as many
    comparisons as verdicts, in the same order, or none. ``failed`` are machines without an evaluation, with the reason.

    :raises MasdError: no evaluation, two of one machine, a verdict that matches none, or unreadable files.
    """
    if not evaluations:
        raise MasdError("there is no evaluation to summarise: run masd evaluate first")
    folders: dict[str, Path] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for folder in evaluations:
        found = _read(folder / "metrics.json", ("machine_type", *GROUPS))
        machine = _folder_name(found["machine_type"], folder)
        if machine in folders:
            raise MasdError(f"{folders[machine]} and {folder} are both evaluations of {machine}: give one of them")
        if out.resolve().is_relative_to(folder.resolve()):
            raise MasdError(
                f"{out} is inside the evaluation {folder}, which would be copied into itself; choose another --out"
            )
        folders[machine], metrics[machine] = folder, found
    verdict_of: dict[str, dict[str, Any]] = {}
    comparison_of: dict[str, Path] = {}
    for number, file in enumerate(verdicts):
        verdict = _read(file, ("machine_type", "passed", "decision", "sentence", "system", "checks"))
        if verdict["machine_type"] not in folders:
            raise MasdError(
                f"{file} is a verdict on {verdict['machine_type']}, but there is no evaluation of this machine"
            )
        verdict_of[verdict["machine_type"]] = verdict
        if comparisons:
            comparison_of[verdict["machine_type"]] = comparisons[number]

    machines = sorted(folders, key=str.casefold)
    for machine in machines:
        with replacing_folder(out / machine) as staged:
            shutil.copytree(folders[machine], staged, dirs_exist_ok=True)
            if machine in verdict_of:
                text = json_text(verdict_of[machine], indent=2) + "\n"
                (staged / "verdict.json").write_text(text, encoding="utf-8")
            if machine in comparison_of:
                shutil.copyfile(comparison_of[machine], staged / "comparison.html")
    summary = {
        "official": {group: _official(metrics, group) for group in GROUPS},
        "machines": {
            machine: {"verdict": verdict_of.get(machine)}
            | {group: _headline(metrics[machine][group]) for group in GROUPS}
            for machine in machines
        },
        "failed": dict(sorted((failed or {}).items())),
    }
    write_text(out / "summary.json", json_text(summary, indent=2) + "\n")
    page = render(
        "summary.html",
        summary=summary,
        passed=[machine for machine in machines if verdict_of.get(machine, {}).get("passed")],
        served=sorted({verdict["system"] for verdict in verdict_of.values()}),
        comparisons=set(comparison_of),
        reports={machine for machine in machines if (out / machine / "report.html").is_file()},
    )
    write_text(out / "report.html", page)


def _official(metrics: dict[str, dict[str, Any]], group: str) -> dict[str, dict[str, Any]]:
    """The official score of each system or control, with the number of machines that have a value for it."""
    names = {name: None for machine in metrics.values() for name in machine[group]}
    scores = {}
    for name in names:
        having = [machine[group][name] for machine in metrics.values() if name in machine[group]]
        having = [values for values in having if any(values[area] is not None for area in AREAS)]
        scores[name] = {"score": official_score(having), "machines": len(having)}
    return scores


def _headline(group: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: values[key] for key in HEADLINE} for name, values in group.items()}


def _read(file: Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MasdError(f"cannot read {file}: {one_line(error, 160)}") from error
    if not isinstance(content, dict) or (missing := [key for key in keys if key not in content]):
        lacks = f"it has no {', '.join(missing)}" if isinstance(content, dict) else "it is not a JSON object"
        raise MasdError(f"{file} was not written by masd: {lacks}")
    return content


def _folder_name(machine: object, folder: Path) -> str:
    if not isinstance(machine, str) or not machine or Path(machine).name != machine or machine[0] == ".":
        raise MasdError(f"{folder}: machine type {str(machine)[:60]!r} cannot name a folder")
    return machine
