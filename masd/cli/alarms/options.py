"""Options and texts that the alarm commands share."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masd.alarms.events import Event


def add_places(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--log", required=required, metavar="LOG", help="a file, a folder or s3://bucket/prefix")
    command.add_argument("--state", metavar="URL", help="where states and events are kept (default LOG-alarms)")


def add_recipients(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--webhook",
        metavar="URL",
        help="post events there as CloudEvents, signed with MASD_WEBHOOK_SECRET (default MASD_WEBHOOK_URL)",
    )
    command.add_argument(
        "--alertmanager",
        metavar="URL",
        help="post alarms there, for example http://localhost:9093 (default MASD_ALERTMANAGER_URL)",
    )


KINDS = {
    "watch": "watch",
    "normal": "normal again",
    "acknowledged": "acknowledged",
    "silent": "no clips for longer than usual",
    "heard": "clips again",
}
REASONS = {
    "alarm-over": "the alarm is over",
    "watch-over": "the watch is over",
    "version-changed": "another version is in production",
}


def sentence_of(event: "Event") -> str:
    if event.kind == "alarm":
        clips = f"; listen to {', '.join(event.worst)}" if event.worst else ""
        rarity = f"scores like these occur once in {event.evidence:,.0f} normal clips"
        return f"{event.time}  {event.machine_type}: ALARM since {event.since}; {rarity}{clips}"
    reason = f" ({REASONS.get(event.reason, event.reason)})" if event.reason else ""
    return f"{event.time}  {event.machine_type}: {KINDS[event.kind]}{reason}"
