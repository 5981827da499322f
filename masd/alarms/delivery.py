"""Send events to their recipients: try again until they have them, or put them aside where a person finds them."""

import json
import logging
import time
from collections.abc import Sequence

from masd.alarms.events import Event
from masd.alarms.recipients import Recipient, RefusedError
from masd.alarms.state import MachineState, Waiting
from masd.errors import MasdError
from masd.storage.protocol import ObjectStore

PAUSES_S = (0.2, 1.0)
"""Seconds between the tries of one step."""

MOST_STEPS = 20
"""After so many failed steps an event is moved to ``dead/<recipient>/<id>.json`` in the state's store."""

log = logging.getLogger(__name__)


def recipients_of(event: Event, recipients: Sequence[Recipient]) -> list[str]:
    """The recipients of an event: all, but only the events log for a watch."""
    quiet = event.kind == "watch" or event.reason == "watch-over"
    return [one.name for one in recipients if one.name == "log" or not quiet]


def deliver(waiting: Sequence[Waiting], recipients: Sequence[Recipient], store: ObjectStore) -> dict[str, list[str]]:
    """Send waiting events to their recipients, in order; returns the recipients that are done (or given up), by the
    event's id. After a failure a recipient gets no later events in the same step, so that their order is kept.
    """
    known = {one.name: one for one in recipients}
    away: set[str] = set()
    done: dict[str, list[str]] = {}
    for one in waiting:
        for name in one.to:
            recipient = known.get(name)
            if name in away or recipient is None:
                continue
            problem = _tell(recipient, one.event)
            if problem is not None:
                if not isinstance(problem, RefusedError) and one.steps + 1 < MOST_STEPS:
                    log.warning("%s; event %s is sent again at the next check", problem, one.event.id)
                    away.add(name)
                    continue
                log.warning(
                    "%s; event %s is given up and moved to %s/dead/%s; send it by hand if it matters",
                    problem,
                    one.event.id,
                    store.url,
                    name,
                )
                letter = {"event": one.event.to_dict(), "problem": str(problem)}
                store.write(f"dead/{name}/{one.event.id}.json", json.dumps(letter, indent=2).encode())
            done.setdefault(one.event.id, []).append(name)
    return done


def settle(state: MachineState, done: dict[str, list[str]], tried: set[str]) -> None:
    """Remove delivered events from a state's outbox; count a failed step for those of ``tried`` (ids) that were not
    delivered.
    """
    for one in state.outbox:
        one.to = [name for name in one.to if name not in done.get(one.event.id, [])]
        one.steps += one.event.id in tried
    state.outbox = [one for one in state.outbox if one.to]


def _tell(recipient: Recipient, event: Event) -> MasdError | None:
    for pause in (*PAUSES_S, None):
        try:
            recipient.tell(event)
            return None
        except RefusedError as problem:
            return problem
        except MasdError as problem:
            if pause is None:
                return problem
            time.sleep(pause)
    return None
