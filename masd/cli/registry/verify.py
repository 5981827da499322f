"""``masd registry verify``."""

import argparse
import sys

from masd.cli.registry.options import Actions, open_registry
from masd.data.findings import counted


def add_command(actions: Actions) -> None:
    actions.add("verify", "check every file, pointer and record", machine=False).set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.registry.verify import verify

    registry = open_registry(options)
    problems = verify(registry)
    for problem in problems:
        print(f"masd: {problem}", file=sys.stderr)
    entries = registry.entries()
    versions = sum(len(entry.versions) for entry in entries)
    print(
        f"{counted(versions, 'version')} of {counted(len(entries), 'machine')} checked, "
        f"{counted(len(problems), 'problem')}"
    )
    return 1 if problems else 0
