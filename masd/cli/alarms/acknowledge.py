"""``masd alarms acknowledge``."""

import argparse

from masd.cli.alarms.options import add_places, add_recipients, sentence_of


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    acknowledge = actions.add_parser("acknowledge", help="acknowledge the alarm of a machine")
    acknowledge.add_argument("machine", metavar="MACHINE", help="machine type whose alarm is acknowledged")
    add_places(acknowledge, required=True)
    acknowledge.add_argument(
        "--registry",
        default="registry",
        metavar="URL",
        help="registry with the versions in production (default ./registry)",
    )
    acknowledge.add_argument("--reason", required=True, help="why; it is written to the events log")
    acknowledge.add_argument(
        "--false-alarm", action="store_true", help="the machine is healthy: end the alarm and count its clips as normal"
    )
    add_recipients(acknowledge)
    acknowledge.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.alarms.recipients import recipients
    from masd.alarms.step import AlarmStep
    from masd.registry.audit import current_actor

    to = recipients(options.webhook, options.alertmanager)
    step = AlarmStep(options.registry, options.log, options.state, recipients=to)
    event = step.acknowledge(options.machine, current_actor(), options.reason, normal=options.false_alarm)
    print(sentence_of(event))
    return 0
