"""``masd train``."""

import argparse
import sys
from pathlib import Path

from masd.cli.common import add_settings, settings_from


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train a model from a machine's folder")
    train.add_argument(
        "data",
        metavar="DATA/MACHINE",
        help="a machine's folder, or s3://bucket/prefix/MACHINE; with training.scope=fleet the folder of all machines",
    )
    train.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="BUNDLE",
        help="bundle folder to write (fleet: one below it per machine)",
    )
    add_settings(train)
    train.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the network is trained (default auto)"
    )
    train.add_argument("--resume", action="store_true", help="continue an interrupted run of the same --out")
    train.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.bundle.manifest import load_manifest
    from masd.detection.threshold import Calibration
    from masd.lifecycle.training import train

    settings = settings_from(options)
    for bundle in train(options.data, options.out, settings, device=options.device, resume=options.resume):
        print(Calibration.from_dict(load_manifest(bundle).calibration).sentence, file=sys.stderr)
        print(bundle)
    return 0
