"""An index, so that reading a registry takes a few requests, however many machines and versions it has.

::

    index/changed                   a random text, replaced after every change
    index/machines/<machine>.json   versions and pointers of a machine after its last change
    index/moving/<machine>/<id>     a process is changing the machine, or was killed while it did

The versions and pointers below ``models/`` count; the index only says what has not changed. So it must be right at
every moment, without locks or conditional writes, even if processes are killed. A process that changes a machine writes
its ``moving`` object, ``changed``, the change, and the machine's entry; then it removes ``moving`` and writes
``changed`` again. If a reader finds the same ``changed`` as before, no change has begun since. If it finds a ``moving``
object, it reads that machine from ``models/``. An entry is written again until it agrees with ``models/`` after the
write; so if two processes write it, the last one is right.

A registry without ``index/changed``, as made by masd 0.1.0, is read as a whole;
:func:`masd.registry.verify.verify` makes its index.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from masd.files import json_text
from masd.registry.layout import machine_folders, numbered, place_of, whole
from masd.storage.protocol import MissingObjectError, ObjectStore, StoreError

CHANGED, MACHINES, MOVING = "index/changed", "index/machines", "index/moving"
GIVEN_UP = timedelta(hours=1)
"""A process whose ``moving`` object is older than this was killed."""
MOST_AT_ONCE = 20
"""If a registry without an index has no more machines, the next change makes its index."""
READERS = 8
_TRIES = 5


@dataclass(frozen=True)
class Entry:
    """Versions and pointers of a machine. ``whole`` is False if a pointer cannot be read; the registry says why."""

    machine: str
    versions: list[str]
    candidate: str | None
    production: str | None
    whole: bool = True


class Index:
    """Reads what has changed since the last call, and notes changes. Keep one object for repeated calls."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._changed: bytes | None = None
        self._entries: dict[str, tuple[str, Entry]] = {}
        self._moving: set[str] = set()

    def look(self) -> dict[str, Entry | None] | None:
        """Entries by machine, None for a machine that is being changed; None if there is no index.

        :raises StoreError: the store cannot be used.
        """
        changed = self._marker()
        if changed is None:
            return None
        if changed != self._changed:
            self._read()
            self._changed = changed
        found: dict[str, Entry | None] = {name: entry for name, (_, entry) in self._entries.items()}
        return dict(sorted((found | dict.fromkeys(self._moving)).items()))

    @contextmanager
    def changing(self, machine: str) -> Iterator[None]:
        """Note a change of a machine's versions or pointers, which happens inside the block.

        :raises StoreError: the store cannot be used before the change. After the change no error is raised: the
            machine counts as moving until the next change or verification.
        """
        own = f"{MOVING}/{machine}/{uuid4().hex}"
        if self._marker() is not None:
            self._store.write(own, b"")
            self._mark()
        try:
            yield
        finally:
            with suppress(StoreError):
                if self._marker() is not None or self._begin():
                    self.refresh(machine)
                    self._store.delete(own)
                    self._mark()

    def refresh(self, machine: str) -> bool:
        """Make a machine's entry agree with ``models/``; returns whether it had to be written."""
        key = f"{MACHINES}/{machine}.json"
        for number in range(_TRIES):
            entry = entry_of(self._store, machine)
            text = (json_text(asdict(entry)) + "\n").encode()
            empty = not entry.versions and entry.whole and entry.candidate is entry.production is None
            try:
                if self._store.read(key) == text:
                    return number > 0
            except MissingObjectError:
                if empty:
                    return number > 0
            if empty:
                self._store.delete(key)
            else:
                self._store.write(key, text)
        return True

    def rebuild(self) -> None:
        """Make every entry agree with ``models/``, and remove the ``moving`` objects of killed processes.

        :raises StoreError: the store cannot be used, or cannot be written.
        """
        known = {item.key.removeprefix(f"{MACHINES}/").removesuffix(".json") for item in self._store.list(MACHINES)}
        changed = [self.refresh(machine) for machine in sorted(known | set(machine_folders(self._store)))]
        for item in list(self._store.list(f"{MOVING}/")):
            if datetime.now(UTC) - item.modified > GIVEN_UP:
                self._store.delete(item.key)
                changed.append(True)
        if any(changed) or self._marker() is None:
            self._mark()

    def _begin(self) -> bool:
        """Make the index of a registry without one; if it has many machines, only verify does so."""
        if len(machine_folders(self._store)) > MOST_AT_ONCE:
            return False
        for _ in range(2):  # again: a change in the meantime found no index to write to
            for machine in machine_folders(self._store):
                self.refresh(machine)
            self._mark()
        return True

    def _read(self) -> None:
        entries: dict[str, tuple[str, Entry]] = {}
        moving, keys = set(), dict[str, str]()
        for item in self._store.list("index/m"):
            if found := re.fullmatch(rf"{MACHINES}/([^/]+)\.json", item.key):
                before = self._entries.get(found[1])
                if before is not None and item.etag and before[0] == item.etag:
                    entries[found[1]] = before
                else:
                    keys[item.key] = item.etag
            elif found := re.fullmatch(rf"{MOVING}/([^/]+)/[^/]+", item.key):
                moving.add(found[1])
        with ThreadPoolExecutor(READERS) as pool:
            for (key, etag), entry in zip(keys.items(), pool.map(self._entry, keys), strict=True):
                name = key.removeprefix(f"{MACHINES}/").removesuffix(".json")
                if entry is None:
                    moving.add(name)
                else:
                    entries[name] = (etag, entry)
        self._entries, self._moving = entries, moving

    def _entry(self, key: str) -> Entry | None:
        try:
            return Entry(**json.loads(self._store.read(key)))
        except (MissingObjectError, ValueError, TypeError):  # removed since it was listed, or damaged
            return None

    def _marker(self) -> bytes | None:
        try:
            return self._store.read(CHANGED)
        except MissingObjectError:
            return None

    def _mark(self) -> None:
        self._store.write(CHANGED, uuid4().hex.encode())


def entry_of(store: ObjectStore, machine: str) -> Entry:
    """A machine's entry, read from ``models/``."""
    versions = whole(numbered(store, machine))
    pointers: dict[str, str | None] = {}
    readable = True
    for channel in ("candidate", "production"):
        try:
            content = json.loads(store.read(f"{place_of(machine)}/channels/{channel}.json"))
            pointers[channel] = str(content["version"])
        except MissingObjectError:
            pointers[channel] = None
        except (ValueError, KeyError, TypeError):
            pointers[channel], readable = None, False
    return Entry(machine, versions, pointers["candidate"], pointers["production"], readable)
