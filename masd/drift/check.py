"""Compare the inference log with the reference of a bundle.

The reference has the normal training clips with their held-out scores. The tests are in :mod:`masd.drift.statistics`.
"""

import hashlib
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from masd.bundle.manifest import UNREGISTERED, Manifest, load_manifest
from masd.config import DriftSettings, Settings
from masd.drift.clips import unusual_clips
from masd.drift.evidently_report import add_to_workspace, run_report, write_report
from masd.drift.labels import live_performance, read_labels
from masd.drift.log import LogRows, read_log
from masd.drift.page import write_page
from masd.drift.reference import read_reference
from masd.drift.statistics import COLUMNS, compare, rounded
from masd.drift.verdict import DriftVerdict, conclusion
from masd.files import json_text, write_text

MOST_CLIPS = 5000
"""More clips are thinned evenly to this number: a change that only more clips would show does not matter."""

PAGES = ("drift.html", "evidently.html", "drift.json")


def check_drift(
    bundle: Path,
    log: str | Path,
    out: Path,
    settings: DriftSettings | None = None,
    *,
    workspace: Path | None = None,
    labels: Path | None = None,
    since: str = "",
) -> DriftVerdict:
    """Write ``out/verdict.json`` and, with enough clips, ``drift.html``, ``evidently.html`` and ``drift.json`` there.

    ``log`` is an inference log: a ``.jsonl`` or ``.parquet`` file, a folder or ``s3://bucket/prefix`` of them. The
    newest ``drift.window`` clips of this model count or, with ``since`` (ISO 8601, UTC), all from then on. ``settings``
    default to the bundle's own. ``workspace`` is a folder of Evidently to which the check is added. ``labels`` is a
    file of late labels (:func:`masd.drift.labels.read_labels`), also of clips that are older than the window.

    :raises MasdError: the bundle is broken, the log or the labels cannot be used (see :func:`read_log`), or Evidently
        is not installed.
    """
    manifest = load_manifest(bundle)
    settings = settings or _own_settings(bundle)
    known_labels = None if labels is None else read_labels(labels)
    reference = read_reference(bundle / "reference.parquet")
    newest = None if since else _newest(settings)
    logged = read_log(
        log,
        manifest.machine_type,
        manifest.version,
        COLUMNS,
        since=since,
        most=newest if known_labels is None else None,
        from_day=_first_day(manifest),
    )
    rows = logged.rows if newest is None else logged.rows.tail(newest).reset_index(drop=True)
    heard = len(rows)
    if len(rows) > MOST_CLIPS:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, MOST_CLIPS).astype(int)].reset_index(drop=True)
    window = rounded(rows)
    columns = {}
    if len(window) >= settings.min_clips:
        columns = compare(reference, window, settings.false_alarm_rate)
    word, sentence = conclusion(columns, len(window), len(reference), settings.min_clips)
    verdict = DriftVerdict(
        machine_type=manifest.machine_type,
        model_version=manifest.version,
        verdict=word,
        clips=len(window),
        since=str(rows["time"].iloc[0]) if heard else "",
        until=str(rows["time"].iloc[-1]) if heard else "",
        reference_clips=len(reference),
        false_alarm_rate=settings.false_alarm_rate,
        columns=columns,
        unusual=unusual_clips(reference, rows, columns),
        not_compared=[name for name in COLUMNS if name in logged.missing or name not in reference],
        ignored=_ignored(logged, heard - len(rows)),
        live=None if known_labels is None else live_performance(logged.rows, known_labels),
        sentence=f"{manifest.machine_type}: {sentence}",
    )

    out.mkdir(parents=True, exist_ok=True)
    for page in PAGES:  # of an earlier run: must not stand beside this verdict
        (out / page).unlink(missing_ok=True)
    if columns:
        report = run_report(reference, window, verdict)
        write_report(report, out)
        if workspace is not None:
            add_to_workspace(report, manifest.machine_type, workspace)
        write_page(reference, rows, verdict, out / "drift.html")
    write_text(out / "verdict.json", json_text(asdict(verdict), indent=2) + "\n")
    return verdict


def window_digest(bundle: Path, log: str | Path) -> str:
    """Changes when the clips do that :func:`check_drift` would compare; reads no more of the log than that does.

    :raises MasdError: as :func:`check_drift`.
    """
    manifest = load_manifest(bundle)
    newest = _newest(_own_settings(bundle))
    whose = (manifest.machine_type, manifest.version)
    logged = read_log(log, *whose, COLUMNS, most=newest, from_day=_first_day(manifest))
    return hashlib.sha256(logged.rows.to_csv(index=False).encode("utf-8", "backslashreplace")).hexdigest()


def _own_settings(bundle: Path) -> DriftSettings:
    config = bundle / "config.yaml"
    return Settings.from_yaml(config.read_text(encoding="utf-8"), str(config)).drift


def _newest(settings: DriftSettings) -> int:
    return max(settings.window, settings.min_clips)


def _first_day(manifest: Manifest) -> str:
    """The day before a registered version was made: no server wrote rows of it earlier, even if a clock is wrong."""
    try:
        made = date.fromisoformat(manifest.created[:10])
    except ValueError:
        return ""
    return "" if manifest.version == UNREGISTERED else (made - timedelta(days=1)).isoformat()


def _ignored(logged: LogRows, thinned: int) -> dict[str, int]:
    return {
        "other_machines": logged.other_machines,
        "other_versions": logged.other_versions,
        "unreadable": logged.unreadable,
        "thinned": thinned,
    }
