"""``masd benchmark``."""

import argparse
import shlex
import sys
from pathlib import Path

from masd.cli.common import add_settings, names, settings_from
from masd.cli.numbers import MAX_SEED


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser(
        "benchmark",
        help="score every method of the paper, the default and the official baseline on your recordings",
        description="Train and score every method on the test clips of each machine, over seeds. An interrupted "
        "run continues where it stopped; finished results are never computed again.",
    )
    command.add_argument("data", metavar="DATA", help="one folder per machine, in a folder or s3://bucket/prefix")
    command.add_argument("--machines", type=names, default=[], help="names separated by commas (default all)")
    command.add_argument("--seeds", type=_seeds, default=[0, 1, 2], help="numbers separated by commas (default 0,1,2)")
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the results, tables and page"
    )
    add_settings(command, seed=False)
    command.set_defaults(run=_benchmark)


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected numbers separated by commas, such as 0,1,2") from error
    if not 0 <= min(seeds) <= max(seeds) <= MAX_SEED or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError("expected different numbers from 0 on")
    return seeds


def _benchmark(options: argparse.Namespace) -> int:
    from masd.data.data_sets import local_data, training_bytes
    from masd.evaluation.benchmark.run import run_benchmark

    machines = options.machines or list(training_bytes(options.data))
    data = local_data(options.data, machines)
    command = shlex.join(["masd", *sys.argv[1:]])
    page = run_benchmark(data, machines, options.seeds, settings_from(options), options.out, command)
    for name in ("benchmark.csv", "benchmark.md"):
        print(page.with_name(name))
    print(page)
    return 0
