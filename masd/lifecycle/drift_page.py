"""Evidently's page on a drift check: it runs the tests of ``drift_statistics`` again and draws the columns."""

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from masd.errors import MasdError
from masd.files import replacing_file, write_text
from masd.lifecycle.drift_statistics import ColumnDrift, match_share_p_value

_OTHER = "other"


def write_page(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    columns: Mapping[str, ColumnDrift],
    sentence: str,
    out: Path,
) -> None:
    """Write ``drift.json`` and ``drift.html``, with the verdict's sentence on top.

    :raises MasdError: Evidently is not installed.
    """
    os.environ["DO_NOT_TRACK"] = "1"  # before the import: Evidently reports its use otherwise
    try:
        from evidently import DataDefinition, Dataset, Report
        from evidently.legacy.calculations.stattests import StatTest, register_stattest
        from evidently.legacy.core import ColumnType
        from evidently.metrics import ValueDrift
    except ImportError as error:
        raise MasdError("drift reports need Evidently: pip install 'masd[monitoring]'") from error

    def match_share(before: pd.Series, after: pd.Series, _type: object, threshold: float) -> tuple[float, bool]:
        p_value = match_share_p_value((before != _OTHER).to_numpy(), (after != _OTHER).to_numpy())
        return p_value, p_value <= threshold

    # Evidently's own Fisher test refuses samples of unequal size.
    register_stattest(StatTest("match share", "Match share p_value", [ColumnType.Categorical], 0.05), match_share)
    definition = DataDefinition(
        numerical_columns=[name for name, column in columns.items() if column.usual is None],
        categorical_columns=[name for name, column in columns.items() if column.usual is not None],
    )
    before, after = (
        Dataset.from_pandas(_labelled(clips, columns), data_definition=definition) for clips in (reference, window)
    )
    metrics: list[Any] = [
        ValueDrift(column=name, method=column.test, threshold=column.threshold) for name, column in columns.items()
    ]
    snapshot = Report(metrics, include_tests=True).run(after, before)
    with replacing_file(out / "drift.json") as staged:
        snapshot.save_json(str(staged))
    page = snapshot.get_html_str(as_iframe=False)
    style = "font:16px sans-serif;margin:0;padding:16px 24px;background:#f3f3f0;color:#22262b"
    banner = f'<p style="{style}">{html.escape(sentence)}</p>'
    write_text(out / "drift.html", page.replace("<body>", f"<body>{banner}", 1))


def _labelled(clips: pd.DataFrame, columns: Mapping[str, ColumnDrift]) -> pd.DataFrame:
    """The tested columns, those with a usual value as the label of that value or ``other``."""
    return pd.DataFrame(
        {
            name: clips[name]
            if column.usual is None
            else (clips[name] == column.usual).map({True: f"{column.usual:g}", False: _OTHER})
            for name, column in columns.items()
        }
    )
