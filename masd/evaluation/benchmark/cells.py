"""One cell of a benchmark: one network, the controls or what needs no network, of one machine and seed; scores of all
test clips.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from masd.arrays import Floats
from masd.config import PAPER_SYSTEMS, LossName, Settings, SystemName
from masd.data.store import FeatureStore
from masd.detection.controls import score_controls
from masd.detection.detectors import fit_detectors
from masd.detection.features.extractor import FeatureExtractor
from masd.evaluation.benchmark.scores import DEFAULT, WITH_LATENT, WITH_UNTRAINED
from masd.files import replacing_file
from masd.learning.normalisation import Normalisation
from masd.learning.train import train_network
from masd.learning.trained import load_network
from masd.progress import Progress

CONTROLS_PART, DEFAULT_PART, UNTRAINED_PART = "controls", "default", "untrained"
ABLATION: dict[str, tuple[LossName, ...]] = {
    "recon": ("reconstruction",),
    "recon+class": ("reconstruction", "classification"),
    "recon+class+contr": ("reconstruction", "classification", "contrastive"),
}
UNTRAINED_STEPS = 44
"""One pass over the challenge's data: enough for the running means of batch normalisation, and for nothing else."""
SHIPPED = "recon+class+contr"
"""The network that ``masd train`` trains for a system that needs one."""


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


def parts(settings: Settings) -> tuple[str, ...]:
    """What is computed together, because all detectors of one network need only one training."""
    own = () if settings.detection.needs_network else (DEFAULT_PART,)
    return (CONTROLS_PART, *own, UNTRAINED_PART, *ABLATION)


def run_cell(cell: Cell, settings: Settings, progress: Progress) -> None:
    """Train, score the test clips and write ``cell.result``: one row per clip, one column per method.

    An interrupted training continues from its last checkpoint, and an existing network is not trained again.
    """
    settings = settings.model_copy(update={"seed": cell.seed})
    store = FeatureStore.open(cell.features)
    if cell.part == CONTROLS_PART:
        store = store.without_high_pass()
        rows = store.rows(split="test")
        scores, _ = score_controls(store, rows, cell.seed, settings.gate.baseline_epochs, progress)
    elif cell.part == DEFAULT_PART:
        extract = FeatureExtractor(None, Normalisation.fit(store), settings.windows)
        scores = score_test_clips(store, extract, settings, {DEFAULT: settings.detection.system})
    elif cell.part == UNTRAINED_PART:
        extract = _network(store, _trained_as(settings, stage1_steps=UNTRAINED_STEPS, stage2_steps=0), cell, progress)
        scores = score_test_clips(store, extract, _with_latent(settings), {WITH_UNTRAINED: "fused"})
    else:
        extract = _network(store, _trained_as(settings, losses=ABLATION[cell.part]), cell, progress)
        systems: dict[str, SystemName] = {f"{cell.part}/{system}": system for system in PAPER_SYSTEMS}
        if cell.part == SHIPPED:
            systems[WITH_LATENT] = "fused"
            if settings.detection.needs_network:
                systems[DEFAULT] = settings.detection.system
        scores = score_test_clips(store, extract, _with_latent(settings), systems)
    names = store.clips["name"].iloc[store.rows(split="test")]
    with replacing_file(cell.result) as staged:
        pd.DataFrame({"name": list(names)} | scores).to_parquet(staged, index=False)


def _trained_as(settings: Settings, **training: object) -> Settings:
    return settings.model_copy(update={"training": settings.training.model_copy(update=training)})


def _with_latent(settings: Settings) -> Settings:
    return settings.model_copy(update={"detection": settings.detection.model_copy(update={"latent": True})})


def _network(store: FeatureStore, settings: Settings, cell: Cell, progress: Progress) -> FeatureExtractor:
    if not cell.network.exists():
        train_network([store], settings, cell.network, resume_from_checkpoint=True, progress=progress)
    trained = load_network(cell.network)
    return FeatureExtractor(trained.network, trained.normalisations[store.machine_type], settings.windows)


def score_test_clips(
    store: FeatureStore, extract: FeatureExtractor, settings: Settings, systems: dict[str, SystemName]
) -> dict[str, Floats]:
    """Scores of the test clips by method, of which ``systems`` says the system."""
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
    return {method: np.array([result[system].score for result in results]) for method, system in systems.items()}
