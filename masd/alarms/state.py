"""What is stored of a machine between two steps: one object, so that a step is complete or has not happened."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from masd.alarms.events import Event
from masd.alarms.monitor import Monitor
from masd.alarms.silence import Hearing
from masd.errors import MasdError, one_line
from masd.storage.protocol import MissingObjectError, ObjectStore

SCHEMA = 1


@dataclass
class Waiting:
    """An event that has not reached all recipients in ``to`` yet; ``steps`` is the number of failed steps."""

    event: Event
    to: list[str]
    steps: int = 0


@dataclass
class MachineState:
    """``read`` as of :func:`masd.drift.new_records.new_records`; ``passed_over`` counts rows of other versions,
    unreadable ones and those of silent clips.
    """

    machine: str
    monitor: Monitor | None = None
    hearing: Hearing = field(default_factory=Hearing)
    read: dict[str, list[int]] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=lambda: {"other_versions": 0, "unreadable": 0, "silent": 0})
    outbox: list[Waiting] = field(default_factory=list)


def load_state(store: ObjectStore, machine: str) -> MachineState:
    """The state of a machine, or a new one.

    :raises MasdError: it is damaged, or of a newer masd.
    """
    content = read_content(store, machine)
    if content is None:
        return MachineState(machine)
    with damaged_named(store, machine):
        monitor = None if content["monitor"] is None else Monitor.from_dict(content["monitor"])
        outbox = [Waiting(Event.from_dict(one["event"]), one["to"], one["steps"]) for one in content["outbox"]]
        return MachineState(
            machine, monitor, Hearing(**content["hearing"]), content["read"], content["passed_over"], outbox
        )


def read_content(store: ObjectStore, machine: str) -> dict[str, Any] | None:
    """What :func:`save_state` wrote, for who needs only a part of it; None where there is nothing.

    :raises MasdError: it is no JSON, or of a newer masd.
    """
    key = _key(machine)
    with damaged_named(store, machine):
        try:
            content: dict[str, Any] = json.loads(store.read(key))
        except MissingObjectError:
            return None
        if content["schema_version"] != SCHEMA:
            raise MasdError(
                f"{store.url}/{key}: has schema {content['schema_version']}, but this masd reads {SCHEMA}; use the "
                "masd "
                "that wrote it, or move the file away to start again"
            )
    return content


@contextmanager
def damaged_named(store: ObjectStore, machine: str) -> Iterator[None]:
    """:raises MasdError: what is inside the block finds something else than a state."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = one_line(error, 160)
        raise MasdError(f"{store.url}/{_key(machine)}: is damaged ({reason}); move it away to start again") from error


def save_state(store: ObjectStore, state: MachineState) -> None:
    """Write the state, complete or not at all."""
    content = {
        "schema_version": SCHEMA,
        "monitor": None if state.monitor is None else state.monitor.to_dict(),
        "hearing": state.hearing.to_dict(),
        "read": state.read,
        "passed_over": state.passed_over,
        "outbox": [{"event": one.event.to_dict(), "to": one.to, "steps": one.steps} for one in state.outbox],
    }
    store.write(_key(state.machine), json.dumps(content).encode())


def known_machines(store: ObjectStore) -> list[str]:
    """Machines that have a state."""
    return [item.key.removeprefix("machines/").removesuffix(".json") for item in store.list("machines/")]


def _key(machine: str) -> str:
    return f"machines/{machine}.json"
