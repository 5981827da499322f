"""The tiles: one per machine, those that need attention first."""

import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from masd.drift.history import DriftCheck
from masd.errors import MasdError, one_line
from masd.registry.audit import AuditTrail
from masd.storage.protocol import StoredObject
from serving.board.sources import RECENT, AlarmView, Sources
from serving.board.timeline.charts import Spark, spark

State = Literal["alarm", "known", "silent", "watch", "unread", "normal", "unheard"]
"""``known``: an alarm that somebody has acknowledged. ``unread``: its state cannot be told, or is old. ``unheard``: the
check for alarms has read no clip of it yet."""

ORDER: tuple[State, ...] = ("alarm", "known", "silent", "watch", "unread", "unheard", "normal")
FRESH_SECONDS = 5.0
STALE = timedelta(minutes=15)
"""If masd alarms has not checked a machine for so long, it is not running."""
READERS = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tile:
    """A machine as the overview shows it; ``problems`` are sentences about what could not be read."""

    machine: str
    state: State
    alarm: AlarmView | None = None
    production: str | None = None
    awaiting: str | None = None
    last_heard: str = ""
    spark: Spark | None = None
    drift: DriftCheck | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Overview:
    """Tiles in their order, how many there are of each state, and problems that are of no one machine."""

    tiles: list[Tile]
    counts: dict[State, int]
    problems: list[str]
    time: datetime
    seconds: float


class Overviews:
    """The overview, made anew once it is :data:`FRESH_SECONDS` old."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._made: tuple[float, Overview] | None = None

    def now(self) -> Overview:
        with self._lock:  # who asks meanwhile gets the same
            if self._made is None or time.monotonic() - self._made[0] > FRESH_SECONDS:
                begun = time.monotonic()
                found = make_overview(self._sources, datetime.now(UTC))
                self._made = (time.monotonic(), replace(found, seconds=time.monotonic() - begun))
            return self._made[1]

    def forget(self) -> None:
        """After a change: the next one looks again."""
        with self._lock:
            self._made = None


def make_overview(sources: Sources, now: datetime) -> Overview:
    """Look at every machine; what cannot be read of one is said on its tile."""
    problems: list[str] = []
    listings: dict[str, dict[str, StoredObject]] = {}
    for name, kept in (("alarms", sources.alarms), ("drift", sources.drift)):
        try:
            listings[name] = kept.listed()
        except MasdError as error:
            listings[name] = {}
            problems.append(str(error))
    registered: list[str] = []
    try:
        registered = sources.machines()
    except MasdError as error:
        problems.append(str(error))
    machines = sorted({*registered, *listings["alarms"]})

    def look(machine: str) -> Tile:
        try:
            return make_tile(sources, machine, listings["alarms"].get(machine), listings["drift"].get(machine), now)
        except Exception as error:  # whatever is wrong with one machine, the others are shown
            log.exception("%s: no tile", machine)
            return Tile(machine, "unread", problems=[f"{type(error).__name__}: {one_line(error, 160)}"])

    with ThreadPoolExecutor(READERS) as readers:
        tiles = list(readers.map(look, machines))
    tiles.sort(key=lambda tile: (ORDER.index(tile.state), not tile.problems, tile.machine))
    counted = Counter(tile.state for tile in tiles)
    return Overview(tiles, {state: counted[state] for state in ORDER if counted[state]}, problems, now, 0.0)


def make_tile(
    sources: Sources, machine: str, alarm: StoredObject | None, drift: StoredObject | None, now: datetime
) -> Tile:
    """One machine's tile."""
    problems: list[str] = []
    production, awaiting = _versions(sources, machine, problems)
    view: AlarmView | None = None
    state: State = "unheard"
    try:
        view = None if alarm is None else sources.alarms.get(machine, alarm)
        state = state_of(view, now)
    except MasdError as error:
        problems.append(str(error))
        state = "unread"
    if alarm is not None and state != "unread" and now - alarm.modified > STALE:
        problems.append(f"masd alarms has not run since {alarm.modified:%Y-%m-%d %H:%M} UTC; start it")
        state = state if state in ("alarm", "known") else "unread"  # nobody may take an old "normal" for a new one
    if view is not None and production is not None and view.version != production:
        problems.append(f"masd alarms still works with version {view.version}, not with the version in production")
    last = "" if view is None else view.hearing.last
    scores = () if view is None else view.recent
    normal = None if view is None else view.normal
    if len(scores) < 2:
        try:
            rows = sources.scores.newest(machine, now, RECENT)
            scores = tuple(rows["score"].tolist())
            last = max(last, rows["time"].max().isoformat(timespec="milliseconds")) if len(rows) else last
        except MasdError as error:
            problems.append(str(error))
    check: DriftCheck | None = None
    try:
        checks = [] if drift is None else sources.drift.get(machine, drift)
        check = checks[-1] if checks else None
    except MasdError as error:
        problems.append(str(error))
    return Tile(machine, state, view, production, awaiting, last, spark(scores, normal), check, problems)


def state_of(view: AlarmView | None, now: datetime) -> State:
    """In one word."""
    if view is None:
        return "unheard"
    if view.state == "alarm":
        return "known" if view.acknowledged else "alarm"
    if view.hearing.silent or replace(view.hearing).silent_from(now) is not None:
        return "silent"
    return "watch" if view.state == "watch" else "normal"


def _versions(sources: Sources, machine: str, problems: list[str]) -> tuple[str | None, str | None]:
    """What is in production, and what waits for somebody's approval."""
    models = sources.registry
    production = candidate = None
    try:
        production = models.channel(machine, "production")
        if production is None:
            problems.append("no version is in production; promote one")
        else:
            models.manifest(machine, production)
    except MasdError as error:
        problems.append(str(error))
    try:
        candidate = models.channel(machine, "candidate")
    except MasdError as error:
        problems.append(str(error))
    return production, candidate if candidate != production and awaits(sources, machine, candidate) else None


def awaits(sources: Sources, machine: str, version: str | None) -> bool:
    """Whether the gate has asked for a person's approval of a version, which nobody has put into production yet."""
    if version is None:
        return False
    try:
        trail = AuditTrail(sources.registry.store, machine)
        return version in trail.versions("ask") and version not in trail.versions("promote")
    except MasdError:
        return False
