"""How good the network is after how many steps: ``python -m bench.curve DATA --machines lathe --out curve``.

One training of all losses per machine, from whose checkpoints each row is computed. An interrupted run continues if it
is started again. The first hundred steps are stage 1.
"""

import argparse
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from masd.arrays import Integers
from masd.config import ALL_SYSTEMS, Settings, SystemName
from masd.data.folders.machine import read_machine
from masd.data.store import FeatureStore, build_store
from masd.detection.features.extractor import FeatureExtractor
from masd.evaluation.benchmark.cells import score_test_clips
from masd.evaluation.metrics import Metrics, official_metrics
from masd.files import json_text, write_text
from masd.learning.batches import BalancedSampler
from masd.learning.calibration import calibration_rows
from masd.learning.classes import label_clips
from masd.learning.losses import reconstruction_loss
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation
from masd.learning.train import train_network
from masd.progress import ConsoleProgress

BUDGETS = (100, 350, 1_500, 5_000, 15_400)
STAGE1 = 100


class _EnoughError(Exception):
    """The largest budget is reached."""


def main() -> int:
    """Train and print one row per budget."""
    parser = argparse.ArgumentParser(prog="python -m bench.curve", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--machines", required=True, help="with commas between them")
    parser.add_argument(
        "--steps", default=",".join(map(str, BUDGETS)), help="multiples of 50, with commas between them"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    budgets = sorted(int(text) for text in options.steps.split(","))
    schedule = [f"training.stage1_steps={STAGE1}", f"training.stage2_steps={15_400 - STAGE1}"]
    settings = Settings.load(
        None, ["detection.latent=true", "training.checkpoint_every=50", f"seed={options.seed}", *schedule]
    )
    for machine in options.machines.split(","):
        _train(options.data, machine, settings, budgets, options.out)
        for row in _rows(machine, settings, budgets, options.out):
            print(row, flush=True)
    return 0


def _train(data: Path, machine: str, settings: Settings, budgets: Sequence[int], out: Path) -> None:
    """Leave the weights after each budget in ``out/machine/weights``."""
    folder = out / machine
    if not (folder / "features").exists():
        with ConsoleProgress(f"featurize {machine}") as progress:
            build_store(read_machine(data / machine, settings.data), settings, folder / "features", progress=progress)
    store = FeatureStore.open(folder / "features")
    if _weights(folder, budgets[-1]).exists():
        return

    with ConsoleProgress(f"train {machine}") as show:

        def keep(done: int, total: int, text: str) -> None:
            show(done, total, text)
            if done in budgets and not _weights(folder, done).exists():
                _weights(folder, done).parent.mkdir(exist_ok=True)
                shutil.copy(
                    folder / "network.checkpoints" / f"step-{done:06d}" / "state.safetensors", _weights(folder, done)
                )
            if done == budgets[-1]:
                raise _EnoughError

        with suppress(_EnoughError):
            train_network([store], settings, folder / "network", resume_from_checkpoint=True, progress=keep)


def _weights(folder: Path, step: int) -> Path:
    return folder / "weights" / f"step-{step:06d}.safetensors"


def _rows(machine: str, settings: Settings, budgets: Sequence[int], out: Path) -> list[str]:
    """A line per budget: error of unseen normal clips over that of predicting the mean, and hmean of each system."""
    folder = out / machine
    store = FeatureStore.open(folder / "features")
    normalisation, (names, labels) = Normalisation.fit(store), label_clips([store])
    unseen = _unseen(store, normalisation, settings, labels)
    lines = [
        f"{machine}: step, unseen error / that of the mean, hmean of {', '.join(ALL_SYSTEMS)} (fused has the latent)"
    ]
    for step in budgets:
        network = ConvolutionalAutoEncoder(settings.network, len(names))
        state = load_file(_weights(folder, step))
        network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
        network.eval()
        with torch.inference_mode():
            error = float(reconstruction_loss(unseen, network(unseen)[0]))
            error /= float(reconstruction_loss(unseen, torch.zeros_like(unseen)))
        metrics = _metrics(store, FeatureExtractor(network, normalisation, settings.windows), settings)
        write_text(folder / f"step-{step:06d}.json", json_text({"unseen_error": error, "metrics": metrics}))
        values = [own["hmean"] for own in metrics.values()]
        lines.append(f"{step:6d}  {error:.3f}  " + "  ".join(f"{100 * value:.1f}" for value in values if value))
    return lines


def _unseen(
    store: FeatureStore, normalisation: Normalisation, settings: Settings, labels: Sequence[Integers]
) -> torch.Tensor:
    """Windows of the clips that are kept from the network: ``[B, 1, F, T]``."""
    held = calibration_rows(store, settings)
    others = np.setdiff1d(np.arange(len(store.clips)), held)
    rng = np.random.default_rng(0)
    sampler = BalancedSampler([store], [normalisation], labels, settings.training, settings.windows, rng, [others])
    return sampler.draw(with_noise=False).x


def _metrics(store: FeatureStore, extract: FeatureExtractor, settings: Settings) -> dict[SystemName, Metrics]:
    scores = score_test_clips(store, extract, settings, {system: system for system in ALL_SYSTEMS})
    clips = store.clips.iloc[store.rows(split="test")]
    return {system: official_metrics(clips, scores[system], threshold=np.inf) for system in ALL_SYSTEMS}


if __name__ == "__main__":
    raise SystemExit(main())
