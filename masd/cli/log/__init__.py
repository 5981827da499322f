"""``masd log``: maintain the inference log; one file per command."""

import argparse

from masd.cli.log import prune


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("log", help="maintain the inference log")
    prune.add_command(group.add_subparsers(dest="action", required=True, metavar="ACTION"))
