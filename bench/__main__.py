"""``python -m bench [topic ...]``: training, scoring and serving, or those that are named; ``soak`` and ``fairness``
only by name.

Everything is measured in one run and by turns, so ratios hold even where the machine is shared. Each figure is the
median of several rounds.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from bench.model import make_model
from masd.config import Settings

TOPICS = ("training", "scoring", "serving")


def main() -> int:
    """Print one line per figure; 1 where the soak did not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("topics", nargs="*", choices=[*TOPICS, "fairness", "soak"], default=TOPICS, metavar="topic")
    parser.add_argument("--clips", type=int, default=20_000, help="of the soak (default 20000)")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    settings = Settings.load(None, ["training.stage1_steps=1", "training.stage2_steps=1"])
    held = True
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder), settings)
        # a topic brings its own libraries: the baseline's, TorchServe
        if "training" in options.topics:
            from bench.training import measure_training

            measure_training(model.store, settings)
        if "scoring" in options.topics:
            from bench.scoring import measure_scoring

            measure_scoring(model)
        if "serving" in options.topics:
            from bench.serving import measure_serving

            measure_serving(model)
        if "fairness" in options.topics:
            from bench.server.fairness import measure_fairness

            measure_fairness(model)
        if "soak" in options.topics:
            from bench.server.soak import soak

            held = soak(model, options.clips)
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
