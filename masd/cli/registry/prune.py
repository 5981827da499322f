"""``masd registry prune``."""

import argparse
from dataclasses import asdict

from masd.cli.numbers import count
from masd.cli.registry.options import Actions, check_known, open_registry
from masd.files import json_text


def add_command(actions: Actions) -> None:
    prune = actions.add(
        "prune", "remove old versions, except those that a pointer names and the last three in production", as_json=True
    )
    prune.add_argument("--keep", type=count, required=True, metavar="N", help="keep the newest N versions")
    prune.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    prune.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.registry.prune import prune

    registry = open_registry(options)
    check_known(registry, options.machine)
    pruned = prune(registry, options.machine, keep=options.keep, dry_run=options.dry_run)
    if options.json:
        print(json_text(asdict(pruned)))
        return 0
    done = "would be removed" if options.dry_run else "removed"
    for what, numbers in (("versions", pruned.versions), ("interrupted registrations", pruned.broken_off)):
        print(f"{options.machine}: {what} {done}: {', '.join(numbers) or 'none'}")
    return 0
