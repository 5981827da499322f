"""The challenge's result files."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from masd.detection.decision import flagged


def write_results(
    folder: Path, machine_type: str, clips: pd.DataFrame, scores: npt.ArrayLike, threshold: float
) -> None:
    """Per section, ``anomaly_score_<machine>_section_NN_test.csv`` and ``decision_result_...`` (no header, every test
    clip).

    Scores are written with all their digits, so that metrics computed from the files equal ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = clips.assign(score=np.asarray(scores))
    for section, group in frame.groupby("section"):
        ending = f"{machine_type}_section_{section}_test.csv"
        names, values = group["name"], group["score"]
        _write(folder / f"anomaly_score_{ending}", zip(names, (repr(float(v)) for v in values), strict=True))
        _write(
            folder / f"decision_result_{ending}",
            zip(names, (int(flagged(v, threshold)) for v in values), strict=True),
        )


def _write(path: Path, rows: "zip[tuple[str, object]]") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
