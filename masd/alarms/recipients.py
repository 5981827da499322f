"""The recipients of events: the events log, a webhook (CloudEvents), Alertmanager."""

import hashlib
import hmac
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Protocol

import pandas as pd

from masd.alarms.events import Event
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError, one_line
from masd.storage.protocol import ObjectStore

TIMEOUT_S = 5.0
HOLD = timedelta(hours=2)
"""Alertmanager keeps an alert for this time; every step repeats the alerts that are on."""


class RefusedError(MasdError):
    """The recipient has refused the event; it would refuse it again."""


class Recipient(Protocol):
    """A recipient of events. After a crash it may get an event twice, with the same id."""

    name: str

    def tell(self, event: Event) -> None:
        """:raises MasdError: it cannot be reached; RefusedError: it refuses this event."""


class EventLog:
    """``events/<machine>/<day>/<time>-<kind>-<id>.parquet``: one row each, with the same bytes if written again."""

    name = "log"

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def tell(self, event: Event) -> None:
        content = BytesIO()
        row = {**event.to_dict(), "worst": json.dumps(event.worst)}
        pd.DataFrame([row]).to_parquet(content, index=False)
        stamp = event.time.replace(":", "").replace("+", "_")
        key = f"events/{event.machine_type}/{event.time[:10]}/{stamp}-{event.kind}-{event.id}.parquet"
        self._store.write(key, content.getvalue())


def event_keys(store: ObjectStore, machine: str) -> list[str]:
    """The keys of a machine's events, oldest first; ``<time>-<kind>-<id>`` is the last part of each."""
    keys = [item.key for item in store.list(f"events/{check_machine_name(machine)}/")]
    return [key for key in keys if key.endswith(".parquet")]


def read_event(store: ObjectStore, key: str) -> Event:
    """One event of the log.

    :raises MasdError: it is damaged, or the store cannot be used.
    """
    content = store.read(key)
    try:
        (row,) = pd.read_parquet(BytesIO(content)).to_dict("records")
        return Event.from_dict({**{str(name): value for name, value in row.items()}, "worst": json.loads(row["worst"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MasdError(f"{store.url}/{key}: not an event ({one_line(error, 160)})") from error


class Webhook:
    """CloudEvents 1.0 (structured JSON) by POST; ``X-Masd-Signature: sha256=<HMAC of the body>`` with a secret."""

    name = "webhook"

    def __init__(self, url: str, secret: str = "") -> None:
        self._url, self._secret = _checked(url), secret.encode()

    def tell(self, event: Event) -> None:
        body = json.dumps(cloud_event(event)).encode()
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        if self._secret:
            headers["X-Masd-Signature"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        _post(self._url, body, headers)


class Alertmanager:
    """Alerts ``MasdAlarm`` and ``MasdNotHeard`` by Alertmanager's API v2, resolved when they are over."""

    name = "alertmanager"

    def __init__(self, url: str) -> None:
        self._url = f"{_checked(url).rstrip('/')}/api/v2/alerts"

    def tell(self, event: Event) -> None:
        alert = "MasdNotHeard" if event.kind in ("silent", "heard") else "MasdAlarm"
        if event.kind == "acknowledged":  # a silence is set in Alertmanager itself
            return
        ends = None if event.kind in ("alarm", "silent") else event.time
        self._send(alert, event.machine_type, event.since, ends, f"{event.kind} since {event.since}", event.worst)

    def repeat(self, alert: str, machine: str, since: str) -> None:
        """Repeat an alert that is on."""
        self._send(alert, machine, since, None, f"since {since}", ())

    def _send(self, alert: str, machine: str, since: str, ends: str | None, summary: str, worst: Sequence[str]) -> None:
        ends = ends or (datetime.now(UTC) + HOLD).isoformat(timespec="milliseconds")
        annotations = {"summary": f"{machine}: {summary}", "worst_request_ids": ", ".join(worst)}
        labels = {"alertname": alert, "machine_type": machine}
        body = [{"labels": labels, "annotations": annotations, "startsAt": since, "endsAt": max(ends, since)}]
        _post(self._url, json.dumps(body).encode(), {"Content-Type": "application/json"})


def recipients(webhook: str | None = None, alertmanager: str | None = None) -> list[Recipient]:
    """Those that are named, or else those of the environment: ``MASD_WEBHOOK_URL`` with ``MASD_WEBHOOK_SECRET``,
    ``MASD_ALERTMANAGER_URL``.

    :raises MasdError: an address that is no URL.
    """
    found: list[Recipient] = []
    if url := webhook or os.environ.get("MASD_WEBHOOK_URL"):
        found.append(Webhook(url, os.environ.get("MASD_WEBHOOK_SECRET", "")))
    if url := alertmanager or os.environ.get("MASD_ALERTMANAGER_URL"):
        found.append(Alertmanager(url))
    return found


def cloud_event(event: Event) -> dict[str, Any]:
    """The event as CloudEvents 1.0 has it."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/masd/alarms/{event.machine_type}",
        "type": f"masd.alarms.{event.kind}",
        "time": event.time,
        "subject": event.machine_type,
        "datacontenttype": "application/json",
        "data": event.to_dict(),
    }


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise MasdError(f"{url}: give a URL that begins with http:// or https://")
    return url


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the scheme is checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        if 400 <= error.code < 500 and error.code not in (408, 429):
            raise RefusedError(f"{url}: refused with {error.code} {error.reason}") from error
        raise MasdError(f"{url}: answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise MasdError(f"{url}: cannot be reached ({one_line(error, 160)})") from error
