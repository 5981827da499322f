"""``masd alarms show``."""

import argparse
import json

from masd.cli.alarms.options import add_places


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = actions.add_parser("show", help="show the state of every machine")
    add_places(show, required=True)
    show.add_argument("--json", action="store_true", help="print one JSON object per machine")
    show.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.alarms.state import known_machines, load_state
    from masd.alarms.step import state_beside
    from masd.storage.opening import open_store

    store = open_store(options.state or state_beside(options.log))
    for machine in known_machines(store):
        state = load_state(store, machine)
        monitor = state.monitor
        if monitor is None:
            continue
        row = {
            "machine_type": machine,
            "model_version": monitor.version,
            "state": monitor.state,
            "since": monitor.since,
            "acknowledged": monitor.acknowledged,
            "evidence": monitor.evidence,
            "asked": monitor.rule.clips,
            "clips": monitor.clips,
            "last_heard": state.hearing.last,
            "silent": state.hearing.silent,
            "calibration": monitor.calibration.sizes(),
            "passed_over": state.passed_over,
            "waiting": len(state.outbox),
        }
        if options.json:
            print(json.dumps(row))
            continue
        since = f" since {monitor.since}" if monitor.since else ""
        known = " (acknowledged)" if monitor.acknowledged else ""
        silent = ", no clip for longer than usual" if state.hearing.silent else ""
        print(
            f"{machine} version {monitor.version}: {monitor.state}{since}{known}; evidence {monitor.evidence:,.1f} of "
            f"{monitor.rule.clips:,.0f}; last clip {state.hearing.last or 'never'}{silent}"
        )
    return 0
