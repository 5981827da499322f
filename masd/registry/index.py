"""An index, so that a look at a registry costs a few requests however many machines and versions it has.

::

    index/changed                   a random text, another one after every change
    index/machines/<machine>.json   versions and pointers of a machine, as they were when the change was done
    index/moving/<machine>/<id>     somebody is changing the machine just now, or was killed while he did

The versions and pointers below ``models/`` count; the index says where nothing has changed. So it has to be right at
every moment, without locks or conditional writes, whoever is killed. Who changes a machine writes in this order: that
he does, ``changed``, the change, the machine's entry, that he does no longer, ``changed``. Who finds ``changed`` as it
was knows that no change has begun since; who finds a machine that is moving asks ``models/``. An entry is written again
until it is what ``models/`` says after it was written, so of two that write at once the last one's is right.

A registry without ``index/changed``, as masd 0.1.0 makes them, is looked through as a whole;
:func:`masd.registry.verify.verify` makes the index.
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
"""Who has been changing a machine for so long was killed."""
MOST_AT_ONCE = 20
"""Machines of which whoever changes one makes the index of all, where there is none."""
READERS = 8
_TRIES = 5


@dataclass(frozen=True)
class Entry:
    """What a machine has. ``whole`` is False where a pointer cannot be read: then ask the registry, which says why."""

    machine: str
    versions: list[str]
    candidate: str | None
    production: str | None
    whole: bool = True


class Index:
    """Reads what has changed since it was last asked, and notes changes; one object for as long as one looks."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._changed: bytes | None = None
        self._entries: dict[str, tuple[str, Entry]] = {}
        self._moving: set[str] = set()

    def look(self) -> dict[str, Entry | None] | None:
        """Entries by machine; None for one that is moving, and None altogether where there is no index.

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
        """Around a change of a machine's versions or pointers.

        :raises StoreError: the store cannot be used. Once the change is made, that costs the entry only: the machine
            then counts as moving until somebody else changes it or verifies.
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
        """Write a machine's entry as ``models/`` says; whether it was not that already."""
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
        """Make every entry what ``models/`` says, and forget changes whose makers were killed.

        :raises StoreError: the store cannot be used, or not written.
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
        """Make the index of a registry that has none yet; one of many machines is left to verify."""
        if len(machine_folders(self._store)) > MOST_AT_ONCE:
            return False
        for _ in range(2):  # again: who came meanwhile found no index to write to
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
    """A machine's entry as ``models/`` says."""
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
