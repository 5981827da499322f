"""The registry: immutable versions, small pointers, and a record of every decision, in a folder or a bucket.

::

    models/<machine>/<version>/...                          a bundle, its .mar and SHA256SUMS, never changed
    models/<machine>/channels/{candidate,production}.json   pointers: version, digest of its manifest, time
    models/<machine>/audit/<time>-<event>-<version>-*.json  one record per decision
    models/<machine>/locks/production/...                   who is moving the production pointer just now

A store has no transactions, so the order of writes makes up for them. A version is there if and only if its
``manifest.json`` is:

* *register*: claim a number, all files but the manifest, the record, the manifest, the candidate pointer, release
  the claim. Killed before the manifest: no version, its number stays unused. Killed after it: a version that the
  candidate pointer does not name yet.
* *promote* and *rollback*: check every digest of the version; alone (see :mod:`masd.lifecycle.locks`): read the pointer
  again, the record, the pointer. Killed between the two: a record of a move that has not happened. The pointer
  counts, and since every record also says where the pointer stood before, such a record is known by it.
* *prune*: alone, as above: the record, the manifest, all other files. Killed between them: no version, or one that is
  still whole; pruning again goes on.

:meth:`Registry.verify` tells of each of these, and what mends it. What a call has returned for is never undone by
a crash of either side.
"""

import hashlib
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from masd.errors import MasdError
from masd.lifecycle.audit import MOVES, AuditTrail, Event, now
from masd.lifecycle.folder_store import FolderStore
from masd.lifecycle.locks import Lease, exclusive
from masd.lifecycle.manifest import Manifest, check_machine_name, load_manifest, parse_manifest, stamp
from masd.lifecycle.object_store import MissingObjectError, ObjectStore, StoreError, open_store
from masd.lifecycle.version_files import cached_version, check_stored, check_version, write_sums

Channel = Literal["candidate", "production"]
CHANNELS: tuple[Channel, ...] = ("candidate", "production")
MANIFEST, CLAIM = "manifest.json", "claim-"


class Registry:
    """Versions of models. Every public method checks names, so none of them can leave the store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.url = store.url

    @classmethod
    def open(cls, url: str | Path) -> "Registry":
        """A path, ``file:///folder`` or ``s3://bucket/prefix``; a folder need not be there yet.

        :raises MasdError: another scheme, or an environment in which no bucket can be used.
        """
        return cls(open_store(str(url)))

    def machines(self) -> list[str]:
        """Machine types that have at least one version."""
        keys = (item.key for item in self.store.list("models/"))
        found = (re.fullmatch(rf"models/([^/]+)/\d+/{MANIFEST}", key) for key in keys)
        return sorted({match[1] for match in found if match})

    def versions(self, machine: str) -> list[str]:
        """Version names of a machine, oldest first."""
        return sorted(self._numbers(machine, MANIFEST), key=int)

    def manifest(self, machine: str, version: str) -> Manifest:
        """What a version says of itself; its other files are not looked at.

        :raises MasdError: there is no such version, or its manifest is damaged.
        """
        return parse_manifest(self._manifest(machine, version), f"{self.url}/{self._place(machine)}/{version}")

    def manifest_sha256(self, machine: str, version: str) -> str:
        """Digest of a version's manifest, as pointers have it.

        :raises MasdError: there is no such version.
        """
        return hashlib.sha256(self._manifest(machine, version)).hexdigest()

    def fetch(self, machine: str, version: str) -> Path:
        """A verified folder of a version, which can be loaded as a bundle: the registry's own, or a cached copy.

        :raises MasdError: there is no such version, or a file of it is missing or not what was registered.
        """
        self._manifest(machine, version)
        place = f"{self._place(machine)}/{version}"
        if not isinstance(self.store, FolderStore):
            return cached_version(self.store, place, machine, version)
        folder = self.store.root / place
        check_version(folder, machine, version)
        return folder

    def check(self, machine: str, version: str) -> None:
        """Hash what the store holds of a version now.

        :raises MasdError: as :meth:`fetch`.
        """
        self._manifest(machine, version)
        check_stored(self.store, f"{self._place(machine)}/{version}", machine, version)

    def channel(self, machine: str, name: Channel) -> str | None:
        """The version a pointer names, or None where it was never set."""
        pointer = self.pointer(machine, name)
        return None if pointer is None else str(pointer["version"])

    def pointer(self, machine: str, name: Channel) -> dict[str, Any] | None:
        """All a pointer says: ``version``, ``manifest_sha256``, ``time``."""
        key = f"{self._place(machine)}/channels/{name}.json"
        try:
            content = json.loads(self.store.read(key))
            return {**content, "version": str(content["version"])}
        except MissingObjectError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise MasdError(
                f"{self.url}/{key}: unreadable pointer ({error}); point it again with masd registry promote"
            ) from error

    def register(
        self,
        bundle: Path,
        *,
        metrics: dict[str, Any],
        reason: str = "",
        build: Callable[[Path, str], None] | None = None,
    ) -> str:
        """Copy a bundle in as a new version, point ``candidate`` at it, and return the version.

        ``build(folder, version)`` may add files (the .mar) to a copy before it goes into the store. Two that register
        at once get two versions. What goes wrong on the way leaves no version behind.
        """
        machine = load_manifest(bundle).machine_type
        with tempfile.TemporaryDirectory(prefix="masd-register-") as temporary:
            staged = Path(temporary, "bundle")
            shutil.copytree(bundle, staged)
            version, claim = self._claim_number(machine)
            try:
                stamp(staged, version=version, metrics=metrics)
                if build is not None:
                    build(staged, version)
                write_sums(staged)
                self._commit(staged, machine, version, claim, reason, metrics)
            except BaseException:
                with suppress(MasdError):  # the store has gone: verify and prune know what this leaves
                    self._withdraw(machine, version)
                raise
        self.nominate(machine, version)
        with suppress(StoreError):  # prune removes it later
            self.store.delete(claim)
        return version

    def nominate(self, machine: str, version: str) -> None:
        """Point ``candidate`` at a version, as registering does; for one whose writer was killed just before that."""
        self._write_pointer(machine, "candidate", self._pointing_at(machine, version))

    def promote(self, machine: str, version: str, *, reason: str, metrics: dict[str, Any] | None = None) -> None:
        """Put a version into production, after checking that it is whole.

        :raises MasdError: no such version, a damaged one, or somebody else is moving the pointer or has just moved it.
        """
        previous = self.channel(machine, "production")
        self.check(machine, version)
        with self._moving(machine, previous) as lease:
            self._move(machine, version, lease, "promote", previous, reason, metrics)

    def refuse(self, machine: str, version: str, *, reason: str, metrics: dict[str, Any] | None = None) -> None:
        """Record that a candidate may not ship; production stays where it is."""
        self._manifest(machine, version)
        AuditTrail(self.store, machine).add("refuse", version, self.channel(machine, "production"), reason, metrics)

    def rollback(self, machine: str, *, reason: str) -> str:
        """Point production at the version that was there before the current one; returns that version.

        :raises MasdError: nothing is in production, nothing was there before, that version is not whole any more, or
            somebody else is moving the pointer or has just moved it.
        """
        history = self.history(machine)
        if not history:
            raise MasdError(f"{self.url}: {machine} has nothing in production to roll back")
        if len(history) == 1:
            raise MasdError(f"{self.url}: {machine} has no earlier production version than {history[0]}")
        current, previous = history[0], history[1]
        self.check(machine, previous)
        with self._moving(machine, current) as lease:
            self._move(machine, previous, lease, "rollback", current, reason)
        return previous

    def history(self, machine: str) -> list[str]:
        """What is in production, and what further rollbacks would bring back, newest first."""
        current = self.channel(machine, "production")
        moves, place = [], current
        for record in reversed(self.audit(machine, *MOVES)):
            if record["version"] == place:  # not so: a move that was recorded, but has not happened
                moves.append(record)
                place = record["previous"]
        stack: list[str] = []
        for record in reversed(moves):
            if record["event"] == "rollback":
                stack = stack[:-1]
            elif record["version"] != record["previous"]:
                stack.append(record["version"])
        if current is not None and stack[-1:] != [current]:
            stack.append(current)
        return stack[::-1]

    def audit(self, machine: str, *events: Event) -> list[dict[str, Any]]:
        """All records of a machine, or those of some events, oldest first."""
        check_machine_name(machine)
        return AuditTrail(self.store, machine).records(*events)

    def verify(self) -> list[str]:
        """Hash every file and check every pointer and record; returns one line per problem, with what mends it."""
        from masd.lifecycle.registry_check import problems

        return problems(self)

    def _place(self, machine: str) -> str:
        return f"models/{check_machine_name(machine)}"

    def _numbers(self, machine: str, name: str = ".*") -> set[str]:
        """Numbers with such an object below them."""
        place = f"{self._place(machine)}/"
        keys = (item.key.removeprefix(place) for item in self.store.list(place))
        found = (re.fullmatch(rf"(\d+)/{name}", key) for key in keys)
        return {match[1] for match in found if match}

    def _manifest(self, machine: str, version: str) -> bytes:
        """The manifest's bytes, which are there if and only if the version is."""
        place = self._place(machine)
        if version.isascii() and version.isdigit():
            with suppress(MissingObjectError):
                return self.store.read(f"{place}/{version}/{MANIFEST}")
        known = ", ".join(self.versions(machine)) or "none"
        raise MasdError(f"{self.url}: {machine} has no version {version!r} (versions: {known})")

    def _claim_number(self, machine: str) -> tuple[str, str]:
        """A version number that nobody else has or gets, and the key of the claim that says so.

        By the reasoning of :mod:`masd.lifecycle.locks`: the claim lies where the version will, and who sees anything
        else there tries the next number.
        """
        place, number = self._place(machine), 0
        while True:
            taken = self._numbers(machine) | AuditTrail(self.store, machine).versions("register")
            number = max({number, *map(int, taken)}) + 1
            version = str(number)
            own = f"{place}/{version}/{CLAIM}{uuid4().hex}"
            self.store.write(own, b"")
            if [item.key for item in self.store.list(f"{place}/{version}/")] == [own]:
                return version, own
            self.store.delete(own)
            time.sleep(random.uniform(0, 0.1))  # noqa: S311 - no secret

    def _withdraw(self, machine: str, version: str) -> None:
        place = f"{self._place(machine)}/{version}"
        self.store.delete(f"{place}/{MANIFEST}")  # first: without it there is no version
        keys = [item.key for item in self.store.list(f"{place}/")]
        for key in sorted(keys, key=lambda key: key.startswith(f"{place}/{CLAIM}")):
            self.store.delete(key)

    def _commit(
        self, staged: Path, machine: str, version: str, claim: str, reason: str, metrics: dict[str, Any]
    ) -> None:
        place = f"{self._place(machine)}/{version}"
        for file in sorted(path for path in staged.rglob("*") if path.is_file()):
            name = file.relative_to(staged).as_posix()
            if name != MANIFEST:
                self.store.upload(file, f"{place}/{name}")
        record = AuditTrail(self.store, machine).add("register", version, None, reason, metrics)
        try:
            if claim not in [item.key for item in self.store.list(claim)]:
                raise StoreError(f"{self.url}: registering {machine} took so long that it was given up; try again")
            self.store.upload(staged / MANIFEST, f"{place}/{MANIFEST}")
        except BaseException:
            with suppress(MasdError):
                self.store.delete(record)
            raise

    @contextmanager
    def _moving(self, machine: str, expected: str | None) -> Iterator[Lease]:
        """Alone with the production pointer, which still names what the caller has seen there."""
        with exclusive(
            self.store, f"{self._place(machine)}/locks/production", f"{machine}: another promotion"
        ) as lease:
            found = self.channel(machine, "production")
            if found != expected:
                raise MasdError(
                    f"{self.url}: production of {machine} has just been moved from {expected or 'nothing'} to "
                    f"{found or 'nothing'} by somebody else; look at masd registry show {machine} before you try again"
                )
            yield lease

    def _move(
        self,
        machine: str,
        version: str,
        lease: Lease,
        event: Event,
        previous: str | None,
        reason: str,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        pointer = self._pointing_at(machine, version)  # which is still there, and stays: pruning takes the same lock
        AuditTrail(self.store, machine).add(event, version, previous, reason, metrics)
        lease.check(f"{machine}: {event} to version {version}")
        self._write_pointer(machine, "production", pointer)

    def _pointing_at(self, machine: str, version: str) -> dict[str, str]:
        return {"version": version, "manifest_sha256": self.manifest_sha256(machine, version), "time": now()}

    def _write_pointer(self, machine: str, channel: Channel, pointer: dict[str, str]) -> None:
        self.store.write(f"{self._place(machine)}/channels/{channel}.json", (json.dumps(pointer) + "\n").encode())
