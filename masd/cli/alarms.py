"""``masd alarms`` and ``masd registry calibrate``."""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from masd.alarms.doubts import DOUBTS
from masd.cli.common import REFUSED_OR_DRIFT, names, need
from masd.errors import MasdError

if TYPE_CHECKING:
    from masd.alarms.events import Event
    from masd.alarms.recipients import Recipient
    from masd.alarms.step import AlarmStep, Outcome


def rate(text: str) -> float:
    """``"1/10000"`` or ``"0.0001"`` -> 0.0001, for ``--false-alarms``."""
    above, slash, below = text.partition("/")
    try:
        found = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        found = 0.0
    if not 0.0 < found <= 0.01:
        raise argparse.ArgumentTypeError(f"{text}: expected false alarms a clip, such as 1/10000, at most 1/100")
    return found


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    alarms = commands.add_parser(
        "alarms",
        help="raise alarms on an inference log, at a stated rate of false ones",
        usage="masd alarms --registry URL --log LOG [--false-alarms 1/N] [--webhook URL] [--alertmanager URL] "
        "[--every SECONDS]\n       masd alarms show --log LOG\n"
        "       masd alarms acknowledge MACHINE --log LOG --reason TEXT [--false-alarm]",
    )
    _add_places(alarms, required=False)
    alarms.add_argument("--registry", metavar="URL", help="whose versions in production are heard")
    alarms.add_argument("--machines", type=names, metavar="A,B", help="only these of the registry")
    alarms.add_argument(
        "--false-alarms", type=rate, metavar="1/N", help="one in N normal clips (default: as calibrated, or 1/10000)"
    )
    alarms.add_argument("--since", default="", metavar="TIME", help="leave out older records (ISO 8601, UTC)")
    alarms.add_argument("--webhook", metavar="URL", help="gets CloudEvents, signed with MASD_WEBHOOK_SECRET")
    alarms.add_argument("--alertmanager", metavar="URL", help="such as http://localhost:9093")
    alarms.add_argument(
        "--every", type=float, metavar="SECONDS", help="go on until stopped, with a step every so often"
    )
    alarms.add_argument("--json", action="store_true", help="one JSON object per event")
    alarms.set_defaults(run=lambda options: _alarms(alarms, options))

    actions = alarms.add_subparsers(metavar="show|acknowledge", prog="masd alarms")
    show = actions.add_parser("show", help="the state of every machine")
    _add_places(show, required=True)
    show.add_argument("--json", action="store_true", help="one JSON object per machine")
    show.set_defaults(run=_show)
    acknowledge = actions.add_parser("acknowledge", help="somebody knows of an alarm")
    acknowledge.add_argument("machine", metavar="MACHINE")
    _add_places(acknowledge, required=True)
    acknowledge.add_argument("--registry", default="registry", metavar="URL")
    acknowledge.add_argument("--reason", required=True, help="kept in the events log")
    acknowledge.add_argument(
        "--false-alarm", action="store_true", help="the machine is well: end the alarm, and learn from its clips"
    )
    acknowledge.add_argument("--webhook", metavar="URL")
    acknowledge.add_argument("--alertmanager", metavar="URL")
    acknowledge.set_defaults(run=_acknowledge)


def _add_places(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--log", required=required, metavar="LOG", help="a file, a folder or s3://bucket/prefix")
    command.add_argument("--state", metavar="URL", help="where states and events are kept (default LOG-alarms)")


def _recipients(options: argparse.Namespace) -> "list[Recipient]":
    from masd.alarms.recipients import Alertmanager, Webhook

    found: list[Recipient] = []
    if options.webhook:
        found.append(Webhook(options.webhook, os.environ.get("MASD_WEBHOOK_SECRET", "")))
    if options.alertmanager:
        found.append(Alertmanager(options.alertmanager))
    return found


def _alarms(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    # checked here, because argparse would ask `masd alarms show` for them too
    if options.log is None or options.registry is None:
        command.error("the following arguments are required: --registry, --log")
    from masd.alarms.step import AlarmStep

    step = AlarmStep(
        options.registry,
        options.log,
        options.state,
        clips=None if options.false_alarms is None else 1.0 / options.false_alarms,
        since=options.since,
        recipients=_recipients(options),
    )
    if options.every is None:
        outcome = step.run(options.machines)
        _print(outcome, as_json=options.json)
        return _code(outcome)
    signal.signal(signal.SIGTERM, _stop)  # at any moment: a step that is cut off has not happened
    try:
        _go_on(step, options)
    except (_Stopped, KeyboardInterrupt):
        return 0


class _Stopped(BaseException):
    """SIGTERM."""


def _stop(*_: object) -> None:
    raise _Stopped


def _go_on(step: "AlarmStep", options: argparse.Namespace) -> NoReturn:
    while True:
        try:
            _print(step.run(options.machines), as_json=options.json)
        except MasdError as error:
            print(f"masd: {' '.join(str(error).split())}; tried again in {options.every:g} s", file=sys.stderr)
        time.sleep(options.every)


def _print(outcome: "Outcome", *, as_json: bool) -> None:
    for event in outcome.events:
        print(json.dumps(event.to_dict()) if as_json else _sentence(event), flush=True)


def _code(outcome: "Outcome") -> int:
    if outcome.failed:
        raise MasdError(f"not looked at: {', '.join(outcome.failed)} (the reasons stand above)")
    print(f"in alarm: {', '.join(outcome.in_alarm) or 'none'}", file=sys.stderr)
    return REFUSED_OR_DRIFT if outcome.in_alarm else 0


def _sentence(event: "Event") -> str:
    if event.kind == "alarm":
        clips = f"; listen to {', '.join(event.worst)}" if event.worst else ""
        rarity = f"as rare as 1 in {event.evidence:,.0f} normal clips"
        return f"{event.time}  {event.machine_type}: ALARM since {event.since}, {rarity}{clips}"
    reason = f" ({event.reason})" if event.reason else ""
    return f"{event.time}  {event.machine_type}: {event.kind}{reason}"


def _show(options: argparse.Namespace) -> int:
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
        silent = ", not heard for longer than usual" if state.hearing.silent else ""
        print(
            f"{machine} version {monitor.version}: {monitor.state}{since}{known}; evidence {monitor.evidence:,.1f} of "
            f"{monitor.rule.clips:,.0f}; last heard {state.hearing.last or 'never'}{silent}"
        )
    return 0


def _acknowledge(options: argparse.Namespace) -> int:
    from masd.alarms.step import AlarmStep
    from masd.registry.audit import current_actor

    step = AlarmStep(options.registry, options.log, options.state, recipients=_recipients(options))
    event = step.acknowledge(options.machine, current_actor(), options.reason, normal=options.false_alarm)
    print(_sentence(event))
    return 0


def add_calibrate(command: argparse.ArgumentParser) -> None:
    """Options of ``masd registry calibrate MACHINE``."""
    command.add_argument("--log", required=True, metavar="LOG", help="a file, a folder or s3://bucket/prefix")
    command.add_argument("--false-alarms", type=rate, required=True, metavar="1/N", help="one in N normal clips")
    command.add_argument("--since", default="", metavar="TIME", help="start of the window (ISO 8601, UTC)")
    command.add_argument("--until", default="", metavar="TIME", help="end of the window")
    command.add_argument("--leave-out", type=names, default=[], metavar="ID,ID", help="request ids of faulty clips")
    command.add_argument(
        "--despite",
        type=names,
        default=[],
        metavar="DOUBT,DOUBT",
        help=f"what of {', '.join(DOUBTS)} in the window was looked into; silent clips and alarms are left out then",
    )
    command.set_defaults(run=lambda options: _calibrate(command, options))


def _calibrate(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from masd.lifecycle.calibrating import calibrate

    if unknown := sorted(set(options.despite) - set(DOUBTS)):
        command.error(f"argument --despite: {', '.join(unknown)}: expected some of {', '.join(DOUBTS)}")
    archive = need("serving.archive", "serving").archive

    def add_archive(folder: Path, version: str) -> None:
        archive(folder, folder / f"{options.machine}.mar")

    version, found = calibrate(
        options.registry,
        options.machine,
        options.log,
        options.false_alarms,
        since=options.since,
        until=options.until,
        leave_out=options.leave_out,
        despite=options.despite,
        build=add_archive,
    )
    if options.json:
        about = {name: value for name, value in asdict(found).items() if name != "scores"}
        print(json.dumps({"version": version, **about}))
        return 0
    domains = ", ".join(f"{len(scores)} {domain or 'of no domain'}" for domain, scores in found.scores.items())
    print(f"{options.machine}: version {version} is the candidate, calibrated by {found.clips} clips ({domains})")
    print(f"  window: {found.since} to {found.until}; {found.left_out} clips left out")
    alike = f"; {found.block} clips in a row are alike and count as one" if found.block > 1 else ""
    print(f"  threshold {found.threshold:.4g}: at most 1 in {1 / found.promised:,.0f} normal clips (95 %){alike}")
    if found.promised > found.asked:
        print(f"  1 in {1 / found.asked:,.0f} for single clips takes {found.needed:,} clips; masd alarms keeps it now")
    print(f"  highest scores taken as normal, to be listened to: {', '.join(found.highest) or 'no request ids'}")
    print(f"  next: masd registry promote {options.machine} {version} --registry {options.registry} --reason ...")
    return 0
