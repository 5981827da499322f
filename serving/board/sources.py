"""Where the board's facts come from: the registry, the inference log, the alarms' states and events, drift histories.

What has not changed by its listing is not read again.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

import numpy as np

from masd.alarms.evidence import total
from masd.alarms.monitor import Rule
from masd.alarms.silence import Hearing
from masd.alarms.state import damaged_named, read_content
from masd.alarms.step import log_store, state_beside
from masd.drift.history import beside, load_history
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from masd.storage.protocol import ObjectStore, StoredObject
from serving.board.clips import kept_files
from serving.board.timeline.alarms import EventReader
from serving.board.timeline.scores import ScoreReader

T = TypeVar("T")

NAMES_SECONDS = 30.0
"""A machine that is new to the registry is shown after so long at the latest."""
RECENT = 60
"""Newest scores of a tile."""


@dataclass(frozen=True)
class AlarmView:
    """What the alarm step knows of a machine, as far as pages show it; ``recent`` are its newest scores, oldest first.

    ``normal`` is where the middle nine tenths of the normal scores lie.
    """

    version: str
    state: str
    since: str
    acknowledged: bool
    evidence: float
    asked: float
    hearing: Hearing
    recent: tuple[float, ...]
    normal: tuple[float, float]


class Kept(Generic[T]):
    """One object a machine, ``machines/<machine>.json`` of a store, parsed once for each state that it has."""

    def __init__(self, store: ObjectStore, load: Callable[[ObjectStore, str], T]) -> None:
        self.store, self._load = store, load
        self._parsed: dict[str, tuple[StoredObject, T | MasdError]] = {}

    def listed(self) -> dict[str, StoredObject]:
        """The objects that are there now, by machine.

        :raises MasdError: the store cannot be used.
        """
        items = self.store.list("machines/")
        return {item.key.removeprefix("machines/").removesuffix(".json"): item for item in items}

    def get(self, machine: str, item: StoredObject) -> T:
        """What a listed object holds.

        :raises MasdError: it is damaged.
        """
        known = self._parsed.get(machine)
        if known is None or known[0] != item:
            try:
                known = (item, self._load(self.store, machine))
            except MasdError as error:
                known = (item, error)
            self._parsed[machine] = known
        if isinstance(known[1], MasdError):
            raise known[1]
        return known[1]


class Sources:
    """``clips`` is where recordings and pictures are kept as ``<machine>/<request id>.<suffix>``, if anywhere."""

    def __init__(self, registry: str, log: str, state: str | None = None, clips: str | None = None) -> None:
        """:raises MasdError: a URL that names no store, or a log that is not there."""
        self.registry_url, self.log_url, self.state_url = registry, log, state or state_beside(log)
        self.registry = Registry.open(registry)
        self.scores = ScoreReader(*log_store(log))
        self.alarms = Kept(open_store(self.state_url), alarm_view)
        self.events = EventReader(self.alarms.store)
        self.drift = Kept(open_store(beside(log, "drift")), load_history)
        self.clips = None if clips is None else open_store(clips)
        self._names: tuple[float, list[str]] = (float("-inf"), [])
        self._lock = threading.Lock()

    def machines(self) -> list[str]:
        """Machines of the registry.

        :raises MasdError: it cannot be used.
        """
        with self._lock:
            if time.monotonic() - self._names[0] > NAMES_SECONDS:
                self._names = (time.monotonic(), self.registry.machines())
            return self._names[1]

    def kept_files(self, machine: str, request_ids: Iterable[str]) -> dict[str, list[str]]:
        """As :func:`serving.board.clips.kept_files`; none where none are kept, or cannot be looked for."""
        if self.clips is None:
            return {}
        try:
            return kept_files(self.clips, machine, request_ids)
        except MasdError:
            return {}


def alarm_view(store: ObjectStore, machine: str) -> AlarmView | None:
    """None where the alarm step has found no version to hear it with.

    :raises MasdError: the state is damaged.
    """
    content = read_content(store, machine)
    if content is None or content.get("monitor") is None:
        return None
    with damaged_named(store, machine):
        monitor, rule = content["monitor"], Rule(**content["monitor"]["rule"])
        scores = sorted(chain.from_iterable(monitor["calibration"]["scores"].values()))
        heard = sorted(monitor["waiting"], key=lambda clip: clip[0])
        return AlarmView(
            version=monitor["model_version"],
            state=monitor["state"],
            since=monitor["since"],
            acknowledged=monitor["acknowledged"],
            evidence=float(total(np.array(monitor["evidence"]))) * rule.block,
            asked=rule.clips,
            hearing=Hearing(**content["hearing"]),
            recent=tuple(clip[1] for clip in heard[-RECENT:]),
            normal=(scores[int(0.05 * len(scores))], scores[int(0.95 * len(scores))]),
        )
