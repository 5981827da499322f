"""Labels from later inspections: how well the model did on the clips that were served."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from masd.data.findings import counted, some
from masd.data.folders.words import condition_in
from masd.errors import MasdError, one_line
from masd.evaluation.bootstrap import draw_weights, weighted_metrics
from masd.evaluation.metrics import areas

LABELS = "normal or anomaly"
NAMED = 10
"""Identifiers of unmatched labels that are kept; the others are counted."""
SAMPLES = 1000


@dataclass(frozen=True)
class LivePerformance:
    """The performance of the model on the labelled clips of the log.

    ``auc`` is over all of them, from ``auc_low`` to ``auc_high`` in 95 % of bootstrap resamples; ``precision`` and
    ``recall`` are of the decisions as they were served. A value is None if it is not defined: without anomalies,
    normal clips or flagged clips. ``unmatched`` counts labels without a clip in the log; ``unmatched_ids`` are the
    first ten of them.
    """

    clips: int
    anomalies: int
    unmatched: int
    unmatched_ids: list[str]
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    precision: float | None
    recall: float | None

    def describe(self) -> str:
        """``live AUC 0.91 (0.84 to 0.96), precision 0.80, recall 0.67 on 40 labelled clips, 12 of them anomalous``."""
        parts = [
            "no live AUC (it needs normal and anomalous labels)"
            if self.auc is None
            else f"live AUC {self.auc:.2f} ({self.auc_low:.2f} to {self.auc_high:.2f})",
            *(
                f"{name} {'unknown' if value is None else format(value, '.2f')}"
                for name, value in (("precision", self.precision), ("recall", self.recall))
            ),
        ]
        text = f"{', '.join(parts)} on {self.clips} labelled clips, {self.anomalies} of them anomalous"
        if self.unmatched:
            match = "matches" if self.unmatched == 1 else "match"
            text += f"; {counted(self.unmatched, 'label')} {match} no clip in the log: "
            text += some(self.unmatched_ids, self.unmatched)
        return text


def read_labels(file: Path) -> dict[str, str]:
    """``request_id`` -> ``normal`` or ``anomaly``, from CSV, JSON lines or Parquet with these columns and ``label``.

    Rows with a blank label are skipped. If a request occurs twice, its last label counts. Labels are the words of
    :mod:`masd.data.folders.words`, such as ``ok`` and ``NG``. The suffix may be in upper case.

    :raises MasdError: no such file, an unknown format, a missing column or an unknown label.
    """
    suffix = file.suffix.lower()
    try:
        if suffix == ".parquet":
            frame = pd.read_parquet(file)
        elif suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            frame = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        elif suffix == ".csv":
            frame = _read_csv(file)
        else:
            raise MasdError(f"labels {file}: give a .csv, .jsonl or .parquet file")
    except (OSError, ValueError) as error:
        raise MasdError(f"labels {file}: cannot be read ({one_line(error, 160)})") from error
    frame = frame.rename(columns={name: str(name).strip().lower() for name in frame})
    if missing := ", ".join(name for name in ("request_id", "label") if name not in frame):
        raise MasdError(f"labels {file}: has no column {missing}; the columns are request_id and label")
    labels: dict[str, str] = {}
    for request, label in zip(_texts(frame["request_id"]), _texts(frame["label"]), strict=True):
        if not label:
            continue
        condition = condition_in(label)
        if condition is None:
            raise MasdError(f"labels {file}: {request or 'a row without request_id'} is {label!r}; a label is {LABELS}")
        labels[request] = condition
    return labels


def _read_csv(file: Path) -> pd.DataFrame:
    with file.open(encoding="utf-8-sig") as lines:
        header = lines.readline()
    delimiter = ";" if header.count(";") > header.count(",") else ","  # as spreadsheets write it in half of Europe
    return pd.read_csv(file, dtype=str, sep=delimiter, encoding="utf-8-sig", skipinitialspace=True)


def _texts(column: pd.Series) -> list[str]:
    return ["" if blank else str(value).strip() for value, blank in zip(column, column.isna(), strict=True)]


def live_performance(rows: pd.DataFrame, labels: dict[str, str], seed: int = 0) -> LivePerformance:
    """Measure the ``score`` and the decisions of logged clips against late labels.

    ``rows`` has ``request_id``, ``score`` and ``anomalous``. A retried request is counted once, with its last row.
    """
    unmatched = sorted(set(labels) - set(rows["request_id"]))
    known = rows[rows["request_id"].isin(labels)].drop_duplicates("request_id", keep="last")
    condition = known["request_id"].map(labels)
    anomaly = (condition == "anomaly").to_numpy(dtype=np.bool_)
    flagged = known["anomalous"].to_numpy(dtype=np.bool_)
    score = known["score"].to_numpy(dtype=np.float64)
    auc = areas(score, np.zeros_like(anomaly), ~anomaly, anomaly)["auc_source"]
    low = high = None
    if auc is not None:
        clips = pd.DataFrame({"section": "00", "domain": "source", "condition": condition.to_numpy()})
        weights = draw_weights(clips, SAMPLES, np.random.default_rng(seed))
        low, high = np.quantile(weighted_metrics(clips, score, weights)["auc_source"], [0.025, 0.975]).tolist()
    hits = int((flagged & anomaly).sum())
    return LivePerformance(
        clips=len(known),
        anomalies=int(anomaly.sum()),
        unmatched=len(unmatched),
        unmatched_ids=[name or "(no request_id)" for name in unmatched[:NAMED]],
        auc=auc,
        auc_low=low,
        auc_high=high,
        precision=hits / int(flagged.sum()) if flagged.any() else None,
        recall=hits / int(anomaly.sum()) if anomaly.any() else None,
    )
