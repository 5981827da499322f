"""Options and texts that the alarm commands share."""

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masd.alarms.events import Event
    from masd.alarms.recipients import Recipient


def add_places(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--log", required=required, metavar="LOG", help="a file, a folder or s3://bucket/prefix")
    command.add_argument("--state", metavar="URL", help="where states and events are kept (default LOG-alarms)")


def recipients_of(options: argparse.Namespace) -> "list[Recipient]":
    from masd.alarms.recipients import Alertmanager, Webhook

    found: list[Recipient] = []
    if options.webhook:
        found.append(Webhook(options.webhook, os.environ.get("MASD_WEBHOOK_SECRET", "")))
    if options.alertmanager:
        found.append(Alertmanager(options.alertmanager))
    return found


def sentence_of(event: "Event") -> str:
    if event.kind == "alarm":
        clips = f"; listen to {', '.join(event.worst)}" if event.worst else ""
        rarity = f"as rare as 1 in {event.evidence:,.0f} normal clips"
        return f"{event.time}  {event.machine_type}: ALARM since {event.since}, {rarity}{clips}"
    reason = f" ({event.reason})" if event.reason else ""
    return f"{event.time}  {event.machine_type}: {event.kind}{reason}"
