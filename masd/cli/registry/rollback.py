"""``masd registry rollback``."""

import argparse

from masd.cli.registry.options import Actions, open_registry


def add_command(actions: Actions) -> None:
    rollback = actions.add("rollback", "put the previous production version back")
    rollback.add_argument("--reason", required=True, help="why; it is written to the audit trail")
    rollback.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    version = open_registry(options).rollback(options.machine, reason=options.reason)
    print(f"{options.machine}: version {version} is in production again")
    return 0
