"""``masd registry verify``."""

import argparse
import sys

from masd.cli.registry.options import Actions, open_registry


def add_command(actions: Actions) -> None:
    actions.add("verify", "hash every file, check every pointer and record", machine=False).set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.registry.verify import verify

    registry = open_registry(options)
    problems = verify(registry)
    for problem in problems:
        print(f"masd: {problem}", file=sys.stderr)
    entries = registry.entries()
    versions = sum(len(entry.versions) for entry in entries)
    print(f"{versions} versions of {len(entries)} machines checked, {len(problems)} problems")
    return 1 if problems else 0
