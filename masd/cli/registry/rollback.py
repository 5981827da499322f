"""``masd registry rollback``."""

import argparse

from masd.cli.registry.options import Actions, open_registry


def add_command(actions: Actions) -> None:
    rollback = actions.add("rollback", "back to the version that was in production before")
    rollback.add_argument("--reason", required=True, help="kept in the audit trail")
    rollback.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    version = open_registry(options).rollback(options.machine, reason=options.reason)
    print(f"{options.machine}: version {version} is in production again")
    return 0
