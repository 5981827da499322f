"""``masd simulate``."""

import argparse
from pathlib import Path

from masd.cli.common import names
from masd.cli.numbers import none_or_more, seconds, seed
from masd.errors import MasdError
from masd.progress import ConsoleProgress


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser(
        "simulate",
        help="make recordings of simulated machines",
        description="Write recordings of simulated machines in the folder layout of DCASE Task 2.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="write one folder per machine into this folder")
    command.add_argument(
        "--machines", type=names, default=[], help="machine types, separated by commas (default all seven)"
    )
    command.add_argument(
        "--train", type=none_or_more, default=1000, help="noisy training clips per machine (default 1000)"
    )
    command.add_argument(
        "--test", type=none_or_more, default=200, help="test clips per machine, a multiple of 4 (default 200)"
    )
    command.add_argument("--seconds", type=seconds, default=10.0, help="length of a clip (default 10)")
    command.add_argument(
        "--channels",
        type=int,
        choices=(1, 2),
        default=1,
        help="2: a near and a far microphone, in a plant with noise that comes and goes (default 1)",
    )
    command.add_argument("--seed", type=seed, default=0, help="the same seed makes the same recordings (default 0)")
    command.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from masd.data.simulation import MACHINES, SimulationError, simulate

    try:
        with ConsoleProgress("simulate") as progress:
            folders = simulate(
                options.out,
                options.machines or MACHINES,
                train=options.train,
                test=options.test,
                seconds=options.seconds,
                seed=options.seed,
                channels=options.channels,
                progress=progress,
            )
    except SimulationError as error:
        raise MasdError(str(error)) from error
    for folder in folders:
        print(folder)
    return 0
