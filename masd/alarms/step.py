"""One step over the inference log: new records go to each machine's monitor, events come out, states are stored.

A machine's new state and its events are one object, written before events are sent, and an event's id is made from its
content. So the process may be killed at any time: the next step finds each record either in the state or not. It sends
the events that were not sent yet; an event that was just being sent is sent again with the same id.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from masd.alarms.bundles import calibration_of
from masd.alarms.calibration import Calibration
from masd.alarms.commissioning.commission import is_silent
from masd.alarms.delivery import deliver, recipients_of, settle
from masd.alarms.events import Event
from masd.alarms.monitor import Monitor, Rule, ScoredClip
from masd.alarms.recipients import Alertmanager, EventLog, Recipient
from masd.alarms.state import MachineState, Waiting, load_state, save_state
from masd.alarms.summary import Summary, summary_of
from masd.drift.history import beside
from masd.drift.new_records import new_records
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.locks import exclusive
from masd.storage.opening import folder_of, open_store
from masd.storage.protocol import ObjectStore, StoredObject, StoreError

CLIPS = 10_000.0
"""The default mean number of clips between false alarms."""

LEARNED = 5000
"""The most normal scores of a domain, from the calibration and from later clips."""

ROWS = 5000
"""Records between two writes of a state."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Events of a step, what is known of each machine after it, and what went wrong, by machine."""

    events: list[Event]
    machines: list[Summary]
    failed: dict[str, str]

    @property
    def in_alarm(self) -> list[str]:
        return [one.machine_type for one in self.machines if one.state == "alarm"]


class AlarmStep:
    """``clips`` None: the rate of each machine's calibration. Records before ``since`` do not count."""

    def __init__(
        self,
        registry: str,
        log_url: str,
        state_url: str | None = None,
        *,
        clips: float | None = None,
        since: str = "",
        recipients: Sequence[Recipient] = (),
    ) -> None:
        self._models = Registry.open(registry)
        self._log, self._only = log_store(log_url)
        self._store = open_store(state_url or state_beside(log_url))
        self._clips, self._since = clips, since
        self._recipients: list[Recipient] = [EventLog(self._store), *recipients]

    def run(self, machines: Sequence[str] | None = None, now: datetime | None = None) -> Outcome:
        """One step for ``machines`` or for all of the registry; a machine that fails does not stop the others.

        :raises MasdError: registry or log cannot be used at all.
        """
        names = self._models.machines() if machines is None else machines
        listing = [item for item in self._log.list() if self._only in (None, item.key)]
        outcome = Outcome([], [], {})
        for machine in names:
            try:
                outcome.events.extend(self._machine(machine, listing, now or datetime.now(UTC)))
            except MasdError as error:
                log.warning("%s: %s", machine, error)
                outcome.failed[machine] = str(error)
            try:
                outcome.machines.extend(self._known_and_repeated(machine))  # an alarm stays on while a step fails
            except MasdError as error:
                outcome.failed.setdefault(machine, str(error))
        return outcome

    def acknowledge(self, machine: str, actor: str, reason: str, *, normal: bool, now: datetime | None = None) -> Event:
        """As :meth:`Monitor.acknowledge`; all recipients get the event.

        :raises MasdError: no alarm, or a state that cannot be used.
        """
        with self._alone(machine) as state:
            if state.monitor is None:
                raise MasdError(f"{machine} has no alarm to acknowledge: masd alarms has not seen a clip of it yet")
            event = state.monitor.acknowledge(_text(now or datetime.now(UTC)), actor, reason, normal=normal)
            self._queue(state, [event])
        self._deliver(machine)
        return event

    def _machine(self, machine: str, listing: list[StoredObject], now: datetime) -> list[Event]:
        pointer = self._models.pointer(machine, "production")
        if pointer is None:
            return []
        events: list[Event] = []
        more = True
        while more:
            with self._alone(machine) as state:
                changes = list(self._follow_production(state, str(pointer["version"]), str(pointer.get("time", ""))))
                new = new_records(self._log, machine, state.read, listing=listing, most=ROWS)
                if state.monitor is not None:
                    changes += self._take(state, state.monitor, new.rows)
                state.read, more = new.read, new.more
                state.passed_over["unreadable"] += new.unreadable
                if not more:
                    changes += self._silence(state, now)
                self._queue(state, changes)
                events += changes
        self._deliver(machine)
        return events

    def _alone(self, machine: str) -> "_Alone":
        return _Alone(self._store, machine)

    def _follow_production(self, state: MachineState, version: str, time: str) -> Iterator[Event]:
        """Use a monitor of the version in production; evidence for an earlier version does not count."""
        if (monitor := state.monitor) is not None and monitor.version == version:
            if self._clips is not None and self._clips != monitor.rule.clips:
                monitor.rule = Rule(self._clips, monitor.rule.block)
            return
        kept = calibration_of(self._models.fetch(state.machine, version))
        clips = self._clips or (1.0 / kept.asked if kept.asked else CLIPS)
        state.monitor = Monitor(state.machine, version, Rule(clips, kept.block), Calibration(kept.scores, LEARNED))
        if monitor is not None and monitor.state == "alarm":
            yield monitor.replaced(time)

    def _take(self, state: MachineState, monitor: Monitor, rows: list[dict[str, Any]]) -> Iterator[Event]:
        clips = []
        for row in rows:
            if str(row.get("model_version")) != monitor.version:
                state.passed_over["other_versions"] += 1
            elif (clip := _clip(row)) is None:
                state.passed_over["unreadable"] += 1
            elif is_silent(row.get("warnings")):  # the machine or its microphone is off
                state.passed_over["silent"] += 1
            elif clip.time >= self._since:
                clips.append(clip)
        for clip in sorted(clips, key=lambda clip: clip.time):
            last = state.hearing.last
            for kind in state.hearing.take(clip.time):
                yield Event(kind, state.machine, monitor.version, clip.time, last, state.hearing.clips)
            yield from monitor.take(clip)

    def _silence(self, state: MachineState, now: datetime) -> Iterator[Event]:
        if (since := state.hearing.silent_from(now)) is not None and state.monitor is not None:
            version = state.monitor.version
            yield Event("silent", state.machine, version, since, state.hearing.last, state.hearing.clips)

    def _queue(self, state: MachineState, events: list[Event]) -> None:
        state.outbox += [Waiting(event, recipients_of(event, self._recipients)) for event in events]

    def _deliver(self, machine: str) -> None:
        """Send events without the lock, because recipients may be slow."""
        waiting = load_state(self._store, machine).outbox
        if not waiting:
            return
        done = deliver(waiting, self._recipients, self._store)
        with self._alone(machine) as state:
            settle(state, done, {one.event.id for one in waiting})

    def _known_and_repeated(self, machine: str) -> Iterator[Summary]:
        """What is known of the machine, if anything; alerts that are on are repeated to Alertmanager."""
        if (known := summary_of(load_state(self._store, machine))) is None:
            return
        for recipient in self._recipients:
            if not isinstance(recipient, Alertmanager):
                continue
            try:
                if known.state == "alarm":
                    recipient.repeat("MasdAlarm", machine, known.since)
                if known.silent:
                    recipient.repeat("MasdNotHeard", machine, known.last_heard)
            except MasdError as error:
                log.warning("%s; the next check tries again", error)
        yield known


class _Alone:
    """Lock a machine's state for one process; it is saved when the block ends without an error."""

    def __init__(self, store: ObjectStore, machine: str) -> None:
        self._store, self._machine = store, machine
        self._lock = exclusive(store, f"locks/{machine}", f"{machine}: an alarm check")

    def __enter__(self) -> MachineState:
        self._lease = self._lock.__enter__()
        self._state = load_state(self._store, self._machine)
        return self._state

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if kind is None:
                self._lease.check(f"{self._machine}: the alarm check")
                save_state(self._store, self._state)
        finally:
            self._lock.__exit__(kind, error, trace)


def state_beside(log_url: str) -> str:
    """The default place of the state of a log's alarms: ``<log>-alarms``."""
    return beside(log_url, "alarms")


def log_store(url: str) -> tuple[ObjectStore, str | None]:
    """The store of a log, and its key if the log is a single file.

    :raises StoreError: there is no such folder or file.
    """
    if url.startswith("s3://"):
        return open_store(url), None
    path = folder_of(url)
    if path.is_file():
        return open_store(str(path.parent)), path.name
    if not path.is_dir():
        raise StoreError(f"there is no inference log at {url}: name the file, folder or bucket that masd serve logs to")
    return open_store(url), None


def _clip(row: dict[str, Any]) -> ScoredClip | None:
    try:
        time = datetime.fromisoformat(str(row["time"]))
        score = float(row["score"])
    except (KeyError, TypeError, ValueError):
        return None
    if not isfinite(score):
        return None
    own = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    domain, request = row.get("domain"), row.get("request_id")
    return ScoredClip(
        _text(own), score, domain if isinstance(domain, str) else "", request if isinstance(request, str) else ""
    )


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
