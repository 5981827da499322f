"""``masd alarms show``."""

import argparse
import json
from dataclasses import asdict

from masd.cli.alarms.options import add_places


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = actions.add_parser("show", help="show the state of every machine")
    add_places(show, required=True)
    show.add_argument("--json", action="store_true", help="print one JSON object per machine")
    show.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.alarms.state import known_machines, load_state
    from masd.alarms.step import state_beside
    from masd.alarms.summary import summary_of
    from masd.storage.opening import open_store

    store = open_store(options.state or state_beside(options.log))
    for machine in known_machines(store):
        known = summary_of(load_state(store, machine))
        if known is None:
            continue
        if options.json:
            print(json.dumps(asdict(known)))
            continue
        since = f" since {known.since}" if known.since else ""
        acknowledged = " (acknowledged)" if known.acknowledged else ""
        silent = ", no clip for longer than usual" if known.silent else ""
        evidence = f"evidence 1 in {known.evidence:,.1f} (alarm at 1 in {known.asked:,.0f})"
        print(
            f"{machine} version {known.model_version}: {known.state}{since}{acknowledged}; {evidence}; "
            f"last clip {known.last_heard or 'never'}{silent}"
        )
    return 0
