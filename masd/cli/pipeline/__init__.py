"""``masd pipeline``: run on this computer, once or on a schedule; compile for a cluster, or submit to one."""

import argparse

from masd.cli.pipeline import compile, monitor, run, schedule, submit


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("pipeline", help="run, schedule, compile or submit the Kubeflow pipelines")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    for command in (run, monitor, schedule, submit, compile):
        command.add_command(actions)
