"""Events -> alarms and silences with a beginning and an end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from masd.alarms.events import Event
from masd.alarms.recipients import event_keys, read_event
from masd.errors import MasdError
from masd.storage.protocol import ObjectStore

MOST_EVENTS = 200
"""Newest events that are looked at for a page, without those of watches."""


@dataclass(frozen=True)
class Episode:
    """One alarm; ``over`` is empty while it lasts. ``known_by`` is who has acknowledged it, or said that it was a false
    one (``false_alarm``).
    """

    since: str
    raised: str
    version: str
    evidence: float
    worst: tuple[str, ...]
    over: str = ""
    known_by: str = ""
    reason: str = ""
    false_alarm: bool = False


@dataclass(frozen=True)
class Silence:
    """Not heard from ``since`` to ``over`` (empty: still)."""

    since: str
    over: str = ""


class EventReader:
    """Reads events once: they never change."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[str, Event] = {}

    def newest(self, machine: str) -> tuple[list[Event], list[str]]:
        """The newest events but those of watches, oldest first, and what could not be read.

        :raises MasdError: the events log cannot be used.
        """
        found, problems = [], []
        for key in [key for key in event_keys(self._store, machine) if "-watch-" not in key][-MOST_EVENTS:]:
            try:
                if key not in self._read:
                    self._read[key] = read_event(self._store, key)
                found.append(self._read[key])
            except MasdError as error:
                problems.append(str(error))
        return sorted(found, key=lambda event: event.time), problems


def episodes(events: Sequence[Event]) -> list[Episode]:
    """Alarms, newest first."""
    found: list[Episode] = []
    for event in events:
        if event.kind == "alarm":
            found.append(Episode(event.since, event.time, event.model_version, event.evidence, event.worst))
        elif not found or found[-1].over:
            continue
        elif event.kind == "acknowledged":
            found[-1] = replace(found[-1], known_by=event.actor, reason=event.reason)
        elif event.kind == "normal" and event.reason != "watch-over":
            found[-1] = replace(found[-1], over=event.time)
            if event.actor:
                found[-1] = replace(found[-1], known_by=event.actor, reason=event.reason, false_alarm=True)
    return found[::-1]


def silences(events: Sequence[Event]) -> list[Silence]:
    """Times in which a machine was not heard, oldest first; from its last clip."""
    found: list[Silence] = []
    for event in events:
        if event.kind == "silent":
            found.append(Silence(event.since or event.time))
        elif event.kind == "heard" and found and not found[-1].over:
            found[-1] = replace(found[-1], over=event.time)
    return found


def try_newest(reader: EventReader, machine: str) -> tuple[list[Event], list[str]]:
    """As :meth:`EventReader.newest`, with a log that cannot be used as a problem."""
    try:
        return reader.newest(machine)
    except MasdError as error:
        return [], [str(error)]
