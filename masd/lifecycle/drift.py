"""Has what a deployed model hears moved away from what it was trained on?

Compares an inference log with the bundle's reference (the normal training clips with their held-out scores).
The tests are in :mod:`masd.lifecycle.drift_statistics`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from masd.config import DriftSettings, Settings
from masd.errors import MasdError
from masd.files import write_text
from masd.lifecycle.drift_log import LogRows, read_log
from masd.lifecycle.drift_page import write_page
from masd.lifecycle.drift_statistics import COLUMNS, ColumnDrift, compare, rounded
from masd.lifecycle.manifest import load_manifest


@dataclass(frozen=True)
class DriftVerdict:
    """What ``verdict.json`` says. ``ignored`` counts log rows that did not take part, by reason."""

    machine_type: str
    model_version: str
    verdict: Literal["drift", "no drift", "insufficient data"]
    clips: int
    reference_clips: int
    columns: dict[str, ColumnDrift]
    ignored: dict[str, int]
    sentence: str


def check_drift(bundle: Path, log: Path, out: Path, settings: DriftSettings | None = None) -> DriftVerdict:
    """Write ``out/verdict.json`` and, with enough clips, Evidently's ``drift.html`` and ``drift.json`` there.

    ``log`` is an inference log, a ``.jsonl`` or ``.parquet`` file or a folder of them; all its rows of this
    model count, so the caller chooses the period by the files. ``settings`` default to the bundle's own.

    :raises MasdError: a broken bundle, a log that cannot be used (see :func:`read_log`), or no Evidently.
    """
    manifest = load_manifest(bundle)
    if settings is None:
        config = bundle / "config.yaml"
        settings = Settings.from_yaml(config.read_text(encoding="utf-8"), str(config)).drift
    reference = _reference(bundle / "reference.parquet")
    logged = read_log(log, manifest.machine_type, manifest.version, COLUMNS)
    window = rounded(logged.rows)
    columns = {}
    if len(window) >= settings.min_clips:
        columns = compare(reference, window, settings.false_alarm_rate)
    verdict = _verdict(manifest.machine_type, manifest.version, len(reference), logged, columns, settings)

    out.mkdir(parents=True, exist_ok=True)
    if columns:
        write_page(reference, window, columns, verdict.sentence, out)
    else:  # a page of an earlier run must not stand beside this verdict
        (out / "drift.html").unlink(missing_ok=True)
        (out / "drift.json").unlink(missing_ok=True)
    write_text(out / "verdict.json", json.dumps(asdict(verdict), indent=2) + "\n")
    return verdict


def _reference(file: Path) -> pd.DataFrame:
    try:
        clips = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise MasdError(f"{file}: cannot be read: {' '.join(str(error).split())[:160]}") from error
    if missing := ", ".join(name for name in COLUMNS if name not in clips.columns):
        raise MasdError(f"{file} has no column {missing}: train the bundle again with this version of masd")
    return rounded(clips)


def _verdict(
    machine_type: str,
    version: str,
    reference_clips: int,
    logged: LogRows,
    columns: dict[str, ColumnDrift],
    settings: DriftSettings,
) -> DriftVerdict:
    clips = len(logged.rows)
    against = f"{clips} clips against {reference_clips} of the reference"
    drifted = [column.describe(name) for name, column in columns.items() if column.drifted]
    verdict: Literal["drift", "no drift", "insufficient data"]
    if drifted:
        verdict, sentence = "drift", f"drift in {', '.join(drifted)}; {against}"
    elif columns:
        verdict, sentence = "no drift", f"no drift in {', '.join(columns)}; {against}"
    elif clips < settings.min_clips:
        verdict, sentence = (
            "insufficient data",
            f"{clips} clips are too few to tell, {settings.min_clips} are needed",
        )
    else:
        verdict, sentence = (
            "insufficient data",
            f"all {clips} clips and the reference are one and the same clip",
        )
    return DriftVerdict(
        machine_type=machine_type,
        model_version=version,
        verdict=verdict,
        clips=clips,
        reference_clips=reference_clips,
        columns=columns,
        ignored={
            "other_machines": logged.other_machines,
            "other_versions": logged.other_versions,
            "unreadable": logged.unreadable,
        },
        sentence=f"{machine_type}: {sentence}",
    )
