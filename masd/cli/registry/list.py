"""``masd registry list``."""

import argparse

from masd.cli.registry.options import Actions, open_registry
from masd.files import json_text


def add_command(actions: Actions) -> None:
    actions.add("list", "list machines, versions and pointers", machine=False, as_json=True).set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    registry = open_registry(options)
    for machine in registry.machines():
        versions = registry.versions(machine)
        candidate, production = (registry.channel(machine, name) for name in ("candidate", "production"))
        if options.json:
            row = {"machine_type": machine, "versions": versions, "candidate": candidate, "production": production}
            print(json_text(row))
        else:
            pointers = f"production {production or '-'}, candidate {candidate or '-'}"
            print(f"{machine}: versions {', '.join(versions)}; {pointers}")
    return 0
