"""``masd dataset``."""

import argparse
from pathlib import Path

from masd.cli.common import names
from masd.data.download.catalogue import RECORDS, contents_of
from masd.progress import ConsoleProgress


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("dataset", help="fetch public recordings of the DCASE challenges")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="names of the data sets").set_defaults(run=_list)
    command = actions.add_parser(
        "fetch",
        help="download and unpack a data set",
        description="Download a data set from its Zenodo record and unpack it, one folder per machine. After an "
        "interruption run it again: it continues where it stopped. Each data set has its own licence: see its record.",
    )
    command.add_argument("name", metavar="NAME", help="a name from `masd dataset list`, for example dcase2025-dev")
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="write the machine folders into this folder"
    )
    command.add_argument("--machines", type=names, default=[], help="machine types, separated by commas (default all)")
    command.set_defaults(run=_fetch)


def _list(options: argparse.Namespace) -> int:
    for name, record in RECORDS.items():
        print(f"{name:<15} {contents_of(name):<25} https://zenodo.org/records/{record}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from masd.data.download.fetch import fetch

    with ConsoleProgress(f"fetch {options.name}") as progress:
        folders = fetch(options.name, options.out, options.machines, progress=progress)
    for folder in folders:
        print(folder)
    return 0
