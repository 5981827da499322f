"""``masd alarms``: read the log once or repeatedly; each action has its own file."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from masd.cli.alarms import acknowledge, show
from masd.cli.alarms.options import add_places, add_recipients, sentence_of
from masd.cli.common import REFUSED_OR_DRIFT, names
from masd.cli.numbers import port, rate, seconds, time_since
from masd.errors import MasdError, one_line
from masd.progress import print_line

if TYPE_CHECKING:
    from masd.alarms.metrics import Gauges
    from masd.alarms.step import AlarmStep, Outcome


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    alarms = commands.add_parser(
        "alarms",
        help="read an inference log and raise alarms, at the false-alarm rate that you set",
        usage="masd alarms --registry URL --log LOG [--false-alarms 1/N] [--webhook URL] [--alertmanager URL] "
        "[--every SECONDS [--metrics-port PORT]]\n       masd alarms show --log LOG\n"
        "       masd alarms acknowledge MACHINE --log LOG --reason TEXT [--false-alarm]",
    )
    add_places(alarms, required=False)
    alarms.add_argument("--registry", metavar="URL", help="registry with the versions in production")
    alarms.add_argument(
        "--machines", type=names, metavar="A,B", help="only these machines (default all in the registry)"
    )
    alarms.add_argument(
        "--false-alarms",
        type=rate,
        metavar="1/N",
        help="allow one false alarm in N normal clips (default: as calibrated, or 1/10000)",
    )
    alarms.add_argument(
        "--since",
        type=time_since,
        metavar="WHEN",
        help="ignore records before a time (ISO 8601, UTC), or from more than 90m, 24h, 7d ago",
    )
    add_recipients(alarms)
    alarms.add_argument("--every", type=seconds, metavar="SECONDS", help="repeat every SECONDS until stopped")
    alarms.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="with --every: gauges for Prometheus at http://HOST:PORT/metrics",
    )
    alarms.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="HOST", help="address of --metrics-port (default 127.0.0.1)"
    )
    alarms.add_argument("--json", action="store_true", help="print one JSON object per event")
    alarms.set_defaults(run=lambda options: _alarms(alarms, options))
    actions = alarms.add_subparsers(metavar="show|acknowledge", prog="masd alarms")
    show.add_command(actions)
    acknowledge.add_command(actions)


def _alarms(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    # checked here, because argparse would ask `masd alarms show` for them too
    if options.log is None or options.registry is None:
        command.error("the following arguments are required: --registry, --log")
    if options.metrics_port is not None and options.every is None:
        command.error("--metrics-port needs --every: without it, masd alarms ends after one check")
    from masd.alarms.recipients import recipients
    from masd.alarms.step import AlarmStep

    step = AlarmStep(
        options.registry,
        options.log,
        options.state,
        clips=None if options.false_alarms is None else 1.0 / options.false_alarms,
        since=options.since or "",
        recipients=recipients(options.webhook, options.alertmanager),
    )
    if options.every is None:
        outcome = step.run(options.machines)
        _print(outcome, as_json=options.json)
        return _code(outcome)
    signal.signal(signal.SIGTERM, _stop)  # at any moment: a step that is cut off has not happened
    try:
        with _gauges(options) as gauges:
            _go_on(step, gauges, options)
    except (_Stopped, KeyboardInterrupt):
        return 0


class _Stopped(BaseException):
    """SIGTERM."""


def _stop(*_: object) -> None:
    raise _Stopped


@contextmanager
def _gauges(options: argparse.Namespace) -> "Iterator[Gauges | None]":
    """Gauges that Prometheus can read inside the block, if the command line asks for them."""
    if options.metrics_port is None:
        yield None
        return
    from masd.alarms.metrics import Gauges, exposed
    from masd.drift.history import beside
    from masd.storage.opening import open_store

    gauges = Gauges(open_store(beside(options.log, "drift")))
    with exposed(gauges, options.metrics_host, options.metrics_port) as url:
        print_line(f"metrics: {url}")
        yield gauges


def _go_on(step: "AlarmStep", gauges: "Gauges | None", options: argparse.Namespace) -> NoReturn:
    while True:
        try:
            outcome = step.run(options.machines)
            _print(outcome, as_json=options.json)
            if gauges is not None:
                gauges.take(outcome)
        except MasdError as error:
            print(f"masd: {one_line(error)}; next try in {options.every:g} s", file=sys.stderr)
        time.sleep(options.every)


def _print(outcome: "Outcome", *, as_json: bool) -> None:
    for event in outcome.events:
        print(json.dumps(event.to_dict()) if as_json else sentence_of(event), flush=True)


def _code(outcome: "Outcome") -> int:
    if outcome.failed:
        raise MasdError(f"not checked: {', '.join(outcome.failed)} (the reasons are above)")
    print(f"in alarm: {', '.join(outcome.in_alarm) or 'none'}", file=sys.stderr)
    return REFUSED_OR_DRIFT if outcome.in_alarm else 0
