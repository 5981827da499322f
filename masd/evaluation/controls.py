"""The controls' scores of a machine's test clips, in a separate step: they depend only on the recordings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from masd.config import Settings
from masd.data.store import FeatureStore
from masd.detection.controls import CONTROLS, score_controls
from masd.errors import MasdError, one_line
from masd.files import replacing_folder
from masd.progress import ConsoleProgress


@dataclass(frozen=True)
class ControlScores:
    """``scores`` has the ``name`` of each test clip of a store, in its order, and a column per control; ``thresholds``
    one of each.
    """

    scores: pd.DataFrame
    thresholds: dict[str, float]

    @classmethod
    def fit(cls, store: FeatureStore, settings: Settings) -> Self:
        """Train the controls on the store's training clips, without high-pass, and score its test clips.

        :raises MasdError: there is none.
        """
        plain, rows, machine = store.without_high_pass(), store.rows(split="test"), store.machine_type
        if len(rows) == 0:
            raise MasdError(f"{machine}: no test clips, or none readable; expected {machine}/test/*.wav to evaluate on")
        with ConsoleProgress(f"baseline {machine}") as progress:
            scores, thresholds = score_controls(plain, rows, settings.seed, settings.gate.baseline_epochs, progress)
        names = store.clips["name"].iloc[rows].reset_index(drop=True)
        return cls(pd.concat([names, pd.DataFrame(scores)], axis=1), thresholds)

    def write(self, out: Path) -> None:
        """Write the folder ``out``, complete or not at all."""
        with replacing_folder(out) as staged:
            self.scores.to_parquet(staged / "scores.parquet", index=False)
            (staged / "thresholds.json").write_text(json.dumps(self.thresholds), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """:raises MasdError: the folder holds no scores of all controls."""
        try:
            scores = pd.read_parquet(folder / "scores.parquet", columns=["name", *CONTROLS])
            thresholds = json.loads((folder / "thresholds.json").read_text(encoding="utf-8"))
            return cls(scores, {name: float(thresholds[name]) for name in CONTROLS})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MasdError(
                f"{folder}: does not contain the scores of the controls ({one_line(error, 160)}); "
                "run the training again from the start"
            ) from error
