"""Evidently's report on a drift check, and its workspace with the history of checks.

The report runs the tests of :mod:`masd.drift.statistics` with the thresholds of the verdict, so the results agree.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from masd.audio.signals import SIGNAL_COLUMNS
from masd.drift.statistics import (
    MODEL_COLUMNS,
    ColumnDrift,
    fisher_p_values,
    ks_p_values,
)
from masd.drift.verdict import DriftVerdict
from masd.errors import MasdError
from masd.files import replacing_file, write_text

_OTHER = "other"
_KS, _SHARE = "Kolmogorov-Smirnov", "share of the most frequent value"


def run_report(reference: pd.DataFrame, window: pd.DataFrame, verdict: DriftVerdict) -> Any:
    """Evidently's snapshot of one check.

    :raises MasdError: Evidently is not installed.
    """
    os.environ["DO_NOT_TRACK"] = "1"  # before the import: Evidently reports its use otherwise
    try:
        from evidently import DataDefinition, Dataset, Report
        from evidently.legacy.calculations.stattests import StatTest, register_stattest
        from evidently.legacy.core import ColumnType
        from evidently.metrics import QuantileValue, RowCount, ValueDrift
    except ImportError as error:
        raise MasdError("drift reports need Evidently: pip install 'masd[monitoring]'") from error

    # Evidently's own tests count p-values in another way, and its Fisher test refuses samples of unequal size.
    register_stattest(StatTest(_KS, _KS, [ColumnType.Numerical], 0.05), _ks)
    register_stattest(StatTest(_SHARE, _SHARE, [ColumnType.Categorical], 0.05), _share)
    columns = verdict.columns
    definition = DataDefinition(
        numerical_columns=[name for name, column in columns.items() if column.usual is None],
        categorical_columns=[name for name, column in columns.items() if column.usual is not None],
    )
    before, after = (
        Dataset.from_pandas(_labelled(clips, columns), data_definition=definition) for clips in (reference, window)
    )
    metrics: list[Any] = [RowCount()]
    if "score" in definition.numerical_columns:
        metrics.append(QuantileValue(column="score", quantile=0.5))
    metrics += [
        ValueDrift(column=name, method=_KS if column.usual is None else _SHARE, threshold=column.threshold)
        for name, column in columns.items()
    ]
    about = {"model_version": verdict.model_version, "sentence": verdict.sentence}
    return Report(metrics, include_tests=True).run(
        after, before, timestamp=datetime.now(UTC), tags=[verdict.verdict], metadata=about
    )


def write_report(snapshot: Any, out: Path) -> None:
    """``out/drift.json`` and the page ``out/evidently.html``."""
    with replacing_file(out / "drift.json") as staged:
        snapshot.save_json(str(staged))
    write_text(out / "evidently.html", snapshot.get_html_str(as_iframe=False))


def add_to_workspace(snapshot: Any, machine: str, folder: Path) -> None:
    """Add a check to the history of its machine, which is a project in Evidently's workspace ``folder``."""
    from evidently.ui.workspace import Workspace

    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.create(str(folder))
    project = next((found for found in workspace.list_projects() if found.name == machine), None)
    if project is None:
        project = workspace.create_project(machine, "Drift checks: clips in the log, compared with the training clips")
        for panel in _panels():
            project.dashboard.add_panel(panel)
    workspace.add_run(project.id, snapshot)


def serve_workspace(folder: Path, port: int) -> None:
    """Serve Evidently's pages of a workspace, on loopback only, in the foreground until interrupted.

    The pages are read-only: changes need a secret, which is random and not stored.

    :raises MasdError: ``folder`` is not a workspace, the port is taken, or Evidently is not installed.
    """
    import secrets
    import socket

    if not any(folder.glob("*/metadata.json")):
        raise MasdError(f"{folder} contains no drift check: name the folder given to masd drift --workspace")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise MasdError(f"port {port} on 127.0.0.1 cannot be used ({error.strerror}): choose another") from error
    os.environ["DO_NOT_TRACK"] = "1"
    try:
        from evidently.ui.service.app import get_config, run
    except ImportError as error:
        raise MasdError("the history of drift needs Evidently: pip install 'masd[monitoring]'") from error
    run(get_config("127.0.0.1", port, str(folder), secret=secrets.token_hex()))


def _panels() -> list[Any]:
    """The dashboard of a machine: clips, their median score and every column's p-value, from check to check."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    def p_values(names: tuple[str, ...]) -> list[Any]:
        return [PanelMetric(legend=name, metric="ValueDrift", metric_labels={"column": name}) for name in names]

    def one(name: str, labels: Mapping[str, str]) -> list[Any]:
        return [PanelMetric(legend=name, metric=name, metric_labels=dict(labels))]

    return [
        line_plot_panel("Median score", one("QuantileValue", {"column": "score"}), size="half"),
        line_plot_panel("Clips in the window", one("RowCount", {}), size="half"),
        line_plot_panel("Answers of the model: p-values, near 0 is drift", p_values(MODEL_COLUMNS)),
        line_plot_panel("Properties of the clips: p-values, near 0 is drift", p_values(SIGNAL_COLUMNS)),
    ]


def _ks(before: pd.Series, after: pd.Series, _type: object, threshold: float) -> tuple[float, bool]:
    p_value = float(ks_p_values(np.concatenate([before, after]), _truth(before, after))[0])
    return p_value, p_value < threshold


def _share(before: pd.Series, after: pd.Series, _type: object, threshold: float) -> tuple[float, bool]:
    has_value = np.concatenate([before, after]) != _OTHER
    p_value = float(fisher_p_values(has_value, _truth(before, after))[0])
    return p_value, p_value < threshold


def _truth(before: pd.Series, after: pd.Series) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return (np.arange(len(before) + len(after)) >= len(before))[:, None]


def _labelled(clips: pd.DataFrame, columns: Mapping[str, ColumnDrift]) -> pd.DataFrame:
    """The tested columns; if a column has a most frequent value, the others in it become ``other``."""
    return pd.DataFrame(
        {
            name: clips[name]
            if column.usual is None
            else (clips[name] == column.usual).map({True: f"{column.usual:g}", False: _OTHER})
            for name, column in columns.items()
        }
    )
