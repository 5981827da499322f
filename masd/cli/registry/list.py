"""``masd registry list``."""

import argparse

from masd.cli.registry.options import Actions, open_registry
from masd.files import json_text


def add_command(actions: Actions) -> None:
    actions.add("list", "list machines, versions and pointers", machine=False, as_json=True).set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    for entry in open_registry(options).entries():
        candidate, production = entry.candidate, entry.production
        if options.json:
            row = {"machine_type": entry.machine, "versions": entry.versions}
            print(json_text({**row, "candidate": candidate, "production": production, "readable": entry.whole}))
        else:
            pointers = f"production {production or '-'}, candidate {candidate or '-'}"
            damaged = "" if entry.whole else f"; a pointer cannot be read: masd registry show {entry.machine} says why"
            print(f"{entry.machine}: versions {', '.join(entry.versions)}; {pointers}{damaged}")
    return 0
