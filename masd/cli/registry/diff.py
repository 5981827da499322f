"""``masd registry diff``."""

import argparse
from dataclasses import asdict
from typing import Any

from masd.cli.registry.options import Actions, open_registry
from masd.files import json_text


def add_command(actions: Actions) -> None:
    diff = actions.add(
        "diff", "show what differs between two versions: settings, metrics, code, data, libraries", as_json=True
    )
    diff.add_argument("before", metavar="A", help="a version")
    diff.add_argument("after", metavar="B", help="the version to compare with it")
    diff.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.registry.diff import diff

    for difference in diff(open_registry(options), options.machine, options.before, options.after):
        if options.json:
            print(json_text(asdict(difference)))
        else:
            before, after = (_shown(value) for value in (difference.before, difference.after))
            print(f"{difference.about:9} {difference.name}: {before} -> {after}")
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value) if isinstance(value, str) else json_text(value)
