"""``masd registry promote``."""

import argparse

from masd.cli.registry.options import Actions, open_registry


def add_command(actions: Actions) -> None:
    promote = actions.add("promote", "put a version into production")
    promote.add_argument("version", metavar="VERSION", help="the version to put into production")
    promote.add_argument("--reason", required=True, help="why; it is written to the audit trail")
    promote.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    open_registry(options).promote(options.machine, options.version, reason=options.reason)
    print(f"{options.machine}: version {options.version} is in production")
    return 0
