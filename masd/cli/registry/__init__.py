"""``masd registry``: list, compare, promote, roll back, check and prune models; one file per command."""

import argparse

from masd.cli.registry import calibrate, diff, list, promote, prune, rollback, show, verify


class _Actions:
    def __init__(self, actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        self._actions = actions

    def add(self, name: str, help_: str, *, machine: bool = True, as_json: bool = False) -> argparse.ArgumentParser:
        command = self._actions.add_parser(name, help=help_)
        command.add_argument(
            "--registry", default="registry", metavar="URL", help="a folder or s3://bucket/prefix (default ./registry)"
        )
        if machine:
            command.add_argument("machine", metavar="MACHINE", help="machine type")
        if as_json:
            command.add_argument("--json", action="store_true", help="one JSON object per line")
        return command


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("registry", help="list, compare, promote, roll back, check and prune models")
    actions = _Actions(group.add_subparsers(dest="action", required=True, metavar="ACTION"))
    for command in (list, show, diff, promote, rollback, calibrate, verify, prune):
        command.add_command(actions)
