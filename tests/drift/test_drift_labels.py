"""Late labels: read from three formats, measured against the window."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from masd.drift.labels import live_performance, read_labels
from masd.errors import MasdError

KNOWN = {"a": "normal", "b": "anomaly", "007": "normal"}


def csv(path: Path) -> Path:
    file = path / "labels.csv"
    file.write_text("request_id,label\na,anomaly\nb,anomaly\n007,normal\na,normal\n")
    return file


def jsonl(path: Path) -> Path:
    file = path / "labels.jsonl"
    rows = [{"request_id": name, "label": label, "by": "crew 2"} for name, label in KNOWN.items()]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return file


def parquet(path: Path) -> Path:
    file = path / "labels.parquet"
    pd.DataFrame({"request_id": KNOWN.keys(), "label": KNOWN.values()}).to_parquet(file)
    return file


@pytest.mark.parametrize("write", [csv, jsonl, parquet])
def test_labels_are_read_and_the_last_word_counts(write: Callable[[Path], Path], tmp_path: Path) -> None:
    assert read_labels(write(tmp_path)) == KNOWN


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.csv", "request_id,verdict\na,normal\n", "no column label"),
        ("labels.csv", "request_id,label\na,strange\n", "a is 'strange'; a label is normal or anomaly"),
        ("labels.csv", "", "cannot be read"),
        ("labels.jsonl", "{", "cannot be read"),
        ("labels.txt", "a normal", "give a .csv, .jsonl or .parquet"),
        ("labels.parquet", "PAR1", "cannot be read"),
        ("absent.csv", None, "cannot be read"),
    ],
)
def test_labels_that_cannot_be_used_are_named_in_one_line(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(MasdError) as raised:
        read_labels(tmp_path / name)
    assert said in str(raised.value) and name in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", "request_id,label\na,normal\nb,anomaly\nc,\nd,  \n007,normal\n"),
        ("l.CSV", "Request_ID, Label\na, normal\nb, anomaly\n007, normal\n,\n"),
        ("l.csv", "\ufeffrequest_id;label\na;OK\nb;NG\n007;good\nc;\n"),
        ("l.JSONL", '{"request_id": "a", "label": "normal"}\n{"request_id": "b", "label": "Faulty"}\n'
         '{"request_id": "007", "label": "normal"}\n{"request_id": "c", "label": null}\n{"request_id": "d"}\n'),
    ],
    ids=["blank", "suffix and spaces", "semicolons and words", "json"],
)  # fmt: skip
def test_a_blank_label_is_none_and_clear_words_are_labels(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_labels(tmp_path / name) == KNOWN


def test_a_later_blank_does_not_take_a_label_back(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("request_id,label\na,anomaly\na,\n")
    assert read_labels(tmp_path / "l.csv") == {"a": "anomaly"}


def test_labels_of_no_clip_are_listed_and_counted() -> None:
    rows, _ = make_rows()
    live = live_performance(rows, {"r0": "anomaly", "r1": "normal"} | {f"x{i:02}": "normal" for i in range(12)})
    assert (live.clips, live.unmatched) == (2, 12)
    assert live.unmatched_ids == [f"x{i:02}" for i in range(10)]
    assert live.describe().endswith("; 12 labels match no clip in the log: x00, x01, x02 and 9 more")


def make_rows(n: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    anomaly = np.arange(n) % 4 == 0
    score = rng.normal(1.0 * anomaly, 1.0)
    rows = pd.DataFrame({"request_id": [f"r{i}" for i in range(n)], "score": score, "anomalous": score > 0.7})
    return rows, anomaly


def test_auc_precision_and_recall_are_those_of_scikit_learn() -> None:
    rows, anomaly = make_rows()
    labels = {name: "anomaly" if odd else "normal" for name, odd in zip(rows["request_id"], anomaly, strict=True)}
    live = live_performance(rows, {**labels, "never logged": "normal"})
    assert (live.clips, live.anomalies, live.unmatched) == (60, 15, 1)
    assert live.auc == pytest.approx(roc_auc_score(anomaly, rows["score"]))
    assert live.auc_low is not None and live.auc_high is not None
    assert live.auc_low < live.auc < live.auc_high < 1.0
    flagged = rows["anomalous"].to_numpy()
    assert live.precision == (flagged & anomaly).sum() / flagged.sum()
    assert live.recall == (flagged & anomaly).sum() / anomaly.sum()
    assert "on 60 labelled clips, 15 of them anomalous" in live.describe()


def test_without_one_of_the_conditions_there_is_no_auc() -> None:
    rows, _ = make_rows()
    live = live_performance(rows, {"r0": "normal", "r1": "normal"})
    assert (live.auc, live.auc_low, live.recall) == (None, None, None)
    assert live.describe().startswith("no live AUC (it needs normal and anomalous labels), precision")
    none = live_performance(rows, {"x": "normal"})
    assert (none.clips, none.unmatched, none.auc) == (0, 1, None)


def test_a_retried_request_counts_once() -> None:
    rows, _ = make_rows(4)
    twice = pd.concat([rows, rows.iloc[[1]].assign(score=9.0, anomalous=True)])
    live = live_performance(twice, {"r0": "anomaly", "r1": "normal"})
    assert (live.clips, live.auc) == (2, 0.0)
