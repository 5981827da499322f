"""One cell of a benchmark: one network, or the controls, of one machine and seed; scores of all test clips."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from masd.arrays import Floats
from masd.config import LossName, Settings, SystemName
from masd.data.store import FeatureStore
from masd.detection.controls import score_controls
from masd.detection.detectors import PAPER_SYSTEMS, fit_detectors
from masd.detection.features.extractor import FeatureExtractor
from masd.evaluation.benchmark.scores import DEFAULT, LOSSES
from masd.files import replacing_file
from masd.learning.train import train_network
from masd.learning.trained import load_network
from masd.progress import Progress

CONTROLS_PART = "controls"
ABLATION: dict[str, tuple[LossName, ...]] = {
    "recon": ("reconstruction",),
    "recon+class": ("reconstruction", "classification"),
    "recon+class+contr": ("reconstruction", "classification", "contrastive"),
}
PARTS = (CONTROLS_PART, *LOSSES)
"""What is computed together, because all detectors of one network need only one training."""

SHIPPED = "recon+class+contr"
"""The network whose configured system is the method ``default``."""


@dataclass(frozen=True)
class Cell:
    """The places of its inputs and results."""

    machine: str
    part: str
    seed: int
    features: Path
    network: Path
    result: Path

    @property
    def name(self) -> str:
        return f"{self.machine}, {self.part}, seed {self.seed}"


def run_cell(cell: Cell, settings: Settings, progress: Progress) -> None:
    """Train, score the test clips and write ``cell.result``: one row a clip, one column a method.

    An interrupted training continues from its last checkpoint, and an existing network is not trained again.
    """
    settings = settings.model_copy(update={"seed": cell.seed})
    if cell.part == CONTROLS_PART:
        store = FeatureStore.open(cell.features).without_high_pass()
        names = _names(store)
        scores, _ = score_controls(store, store.rows(split="test"), cell.seed, progress)
    else:
        training = settings.training.model_copy(update={"losses": ABLATION[cell.part]})
        settings = settings.model_copy(update={"training": training})
        names, scores = _network(FeatureStore.open(cell.features), settings, cell, progress)
    with replacing_file(cell.result) as staged:
        pd.DataFrame({"name": names} | scores).to_parquet(staged, index=False)


def _network(
    store: FeatureStore, settings: Settings, cell: Cell, progress: Progress
) -> tuple[list[str], dict[str, Floats]]:
    if not cell.network.exists():
        train_network([store], settings, cell.network, resume_from_checkpoint=True, progress=progress)
    trained = load_network(cell.network)
    extract = FeatureExtractor(trained.network, trained.normalisations[store.machine_type], settings.windows)
    rows = store.normal_rows()
    is_target = store.clips["domain"].to_numpy()[rows] == "target"
    detectors, _ = fit_detectors(
        extract.rows(store, rows),
        is_target,
        settings.detection,
        settings.seed,
        recordings=store.clips["recording"].to_numpy()[rows],
    )
    results = [detectors.score(clip) for clip in extract.rows(store, store.rows(split="test"))]
    methods: dict[str, SystemName] = {f"{cell.part}/{system}": system for system in PAPER_SYSTEMS}
    if cell.part == SHIPPED:
        methods[DEFAULT] = settings.detection.system
    return _names(store), {
        method: np.array([result[system].score for result in results]) for method, system in methods.items()
    }


def _names(store: FeatureStore) -> list[str]:
    return list(store.clips["name"].iloc[store.rows(split="test")])
