"""The registry: immutable versions, small pointers, and a record of every decision, in a folder or a bucket.

::

    models/<machine>/<version>/...                          a bundle, its .mar and SHA256SUMS, never changed
    models/<machine>/channels/{candidate,production}.json   pointers: version, digests, time
    models/<machine>/audit/<time>-<event>-<version>-*.json  one record per decision
    models/<machine>/locks/production/...                   processes that are moving the production pointer
    index/...                                               what has changed: see :mod:`masd.registry.index`

A store has no transactions, so the order of writes replaces them. A version exists if and only if its
``manifest.json`` does:

* *register*: claim a number, write all files but the manifest, the record, the manifest and the candidate pointer,
  release the claim. If it is killed before the manifest, there is no version, and the number stays unused. If it is
  killed later, there is a version that the candidate pointer may not name yet.
* *promote* and *rollback*: check every digest of the version; then, under a lock (see :mod:`masd.storage.locks`), read
  the pointer again, write the record, write the pointer. If it is killed in between, there is a record of a move that
  did not happen. The pointer counts; such a record is recognised because every record has the pointer's value before.
* *prune*: under the same lock, remove the manifest, write the record, remove all other files. If it is killed in
  between, there is no version, and the next prune removes the rest.

:func:`masd.registry.verify.verify` reports each of these and names the repair. When a call has returned, a crash of
client or store does not undo its result.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from masd.bundle.manifest import Manifest, load_manifest, parse_manifest, stamp
from masd.config import Settings
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError
from masd.registry.audit import MOVES, AuditTrail, Event, RunDecision, now, productions
from masd.registry.files import cached_version, check_stored, check_version, sums_sha256_of, write_sums
from masd.registry.index import Entry, Index, entry_of
from masd.registry.layout import MANIFEST, machine_folders, numbered, place_of, whole
from masd.registry.registration import add_version
from masd.storage.cache import temporary_folder
from masd.storage.folder import FolderStore
from masd.storage.locks import Lease, exclusive
from masd.storage.opening import open_store
from masd.storage.protocol import MissingObjectError, ObjectStore, StoreError

Channel = Literal["candidate", "production"]
CHANNELS: tuple[Channel, ...] = ("candidate", "production")


@dataclass(frozen=True)
class Look:
    """The version in production by machine, and by machine why its pointer cannot be read."""

    production: dict[str, str]
    problems: dict[str, str]


class Registry:
    """Versions of models. Every public method checks names, so none of them can leave the store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.url = store.url
        self.index = Index(store)

    @classmethod
    def open(cls, url: str | Path) -> "Registry":
        """A path, ``file:///folder`` or ``s3://bucket/prefix``; a folder need not be there yet.

        :raises MasdError: another scheme, or an environment in which no bucket can be used.
        """
        return cls(open_store(str(url)))

    def machines(self) -> list[str]:
        """Machine types that have at least one version."""
        if (known := self.index.look()) is not None:
            return [name for name, entry in known.items() if self._or_asked(name, entry).versions]
        return self._listed()

    def _listed(self) -> list[str]:
        """:meth:`machines` where there is no index."""
        keys = (item.key for item in self.store.list("models/"))
        found = (re.fullmatch(rf"models/([^/]+)/\d+/{MANIFEST}", key) for key in keys)
        return sorted({match[1] for match in found if match})

    def versions(self, machine: str) -> list[str]:
        """Version names of a machine, oldest first."""
        return whole(numbered(self.store, machine))

    def manifest(self, machine: str, version: str) -> Manifest:
        """The manifest of a version of any schema; its other files are not checked.

        :raises MasdError: there is no such version, or its manifest is damaged.
        """
        where = f"{self.url}/{place_of(machine)}/{version}"
        return parse_manifest(self._manifest(machine, version), where, any_schema=True)

    def settings(self, machine: str, version: str) -> Settings:
        """The settings that a version was trained and evaluated with.

        :raises MasdError: there is no such version, or its settings cannot be read.
        """
        key = f"{place_of(machine)}/{version}/config.yaml"
        return Settings.from_yaml(self.store.read(key).decode("utf-8", "replace"), f"{self.url}/{key}")

    def manifest_sha256(self, machine: str, version: str) -> str:
        """Digest of a version's manifest, as in the pointers.

        :raises MasdError: there is no such version.
        """
        return hashlib.sha256(self._manifest(machine, version)).hexdigest()

    def fetch(self, machine: str, version: str) -> Path:
        """A verified folder of a version: the registry's own, or a cached copy.

        It can be loaded as a bundle if this masd reads its schema (else :class:`OtherSchemaError`); its archive can
        be served in any case.

        :raises MasdError: there is no such version, or one of its files is missing or was changed.
        """
        self._manifest(machine, version)
        place = f"{place_of(machine)}/{version}"
        if not isinstance(self.store, FolderStore):
            return cached_version(self.store, place, machine, version, self._sums_sha256(machine, version))
        folder = self.store.root / place
        check_version(folder, machine, version, self._sums_sha256(machine, version))
        return folder

    def check(self, machine: str, version: str) -> str:
        """Hash the files of a version in the store; returns the digest of its ``SHA256SUMS``.

        :raises MasdError: as :meth:`fetch`.
        """
        self._manifest(machine, version)
        place = f"{place_of(machine)}/{version}"
        return check_stored(self.store, place, machine, version, self._sums_sha256(machine, version))

    def channel(self, machine: str, name: Channel) -> str | None:
        """The version that a pointer names, or None if it was never set."""
        pointer = self.pointer(machine, name)
        return None if pointer is None else str(pointer["version"])

    def in_production(self, machines: Iterable[str] | None = None) -> dict[str, str]:
        """The version in production by machine, of ``machines`` or of all; machines without one are left out."""
        if machines is None:
            look = self.look()
            for problem in look.problems.values():
                raise MasdError(problem)
            return look.production
        found = {machine: self.channel(machine, "production") for machine in machines}
        return {machine: version for machine, version in found.items() if version is not None}

    def look(self) -> Look:
        """The versions in production of all machines.

        With an index (:mod:`masd.registry.index`), the second call of the same object needs one request if nothing
        has changed; otherwise a few, and one for each changed machine. If a machine's pointer cannot be read, it is
        among the problems, and the other machines are read.

        :raises StoreError: the store cannot be used.
        """
        known = self.index.look()
        names = dict.fromkeys(self._listed()) if known is None else known
        production, problems = dict[str, str](), dict[str, str]()
        for name, entry in names.items():
            try:
                version = entry.production if entry is not None and entry.whole else self.channel(name, "production")
            except StoreError:
                raise
            except MasdError as error:
                problems[name] = str(error)
                continue
            if version is not None:
                production[name] = version
        return Look(production, problems)

    def entries(self) -> list[Entry]:
        """Versions and pointers of every machine that has versions.

        :raises StoreError: the store cannot be used.
        """
        known = self.index.look()
        names = dict.fromkeys(machine_folders(self.store)) if known is None else known
        found = [self._or_asked(name, entry) for name, entry in names.items()]
        return [entry for entry in found if entry.versions]

    def _or_asked(self, machine: str, entry: Entry | None) -> Entry:
        return entry_of(self.store, machine) if entry is None else entry

    def pointer(self, machine: str, name: Channel) -> dict[str, Any] | None:
        """The fields of a pointer: ``version``, ``manifest_sha256``, ``sums_sha256`` (not of masd 0.1.0), ``time``."""
        key = f"{place_of(machine)}/channels/{name}.json"
        try:
            content = json.loads(self.store.read(key))
            return {**content, "version": str(content["version"])}
        except MissingObjectError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            mend = "masd registry promote" if name == "production" else "registering a version"
            raise MasdError(f"{self.url}/{key}: unreadable pointer ({error}); {mend} replaces it") from error

    def register(
        self,
        bundle: Path,
        *,
        metrics: dict[str, Any],
        reason: str = "",
        gate: RunDecision | None = None,
        build: Callable[[Path, str], None] | None = None,
    ) -> str:
        """Copy a bundle in as a new version, point ``candidate`` at it, and return the version.

        ``build(folder, version)`` may add files (the .mar) to a copy before it goes into the store. Two calls at
        the same time make two versions. After an error there is no version.
        """
        machine = load_manifest(bundle).machine_type
        with temporary_folder("register") as temporary:
            staged = temporary / "bundle"
            shutil.copytree(bundle, staged)

            def prepare(version: str) -> None:
                stamp(staged, version=version, metrics=metrics)
                if build is not None:
                    build(staged, version)
                write_sums(staged)

            version, claim = add_version(self.store, machine, staged, prepare, reason, metrics, gate)
        self.nominate(machine, version)
        with suppress(StoreError):  # prune removes it later
            self.store.delete(claim)
        return version

    def nominate(self, machine: str, version: str) -> None:
        """Point ``candidate`` at a version, if :meth:`register` was killed before it could do that."""
        sums = sums_sha256_of(self.store, f"{place_of(machine)}/{version}")
        with self.index.changing(machine):
            self._write_pointer(machine, "candidate", self._pointing_at(machine, version, sums))

    def promote(
        self,
        machine: str,
        version: str,
        *,
        reason: str,
        metrics: dict[str, Any] | None = None,
        gate: RunDecision | None = None,
    ) -> None:
        """Put a version into production, after checking that it is whole.

        :param gate: the decision of the gate, if a pipeline run promotes.
        :raises MasdError: no such version, a damaged one, or another process is moving or has just moved the pointer.
        """
        previous = self._in_production(machine)
        sums = self.check(machine, version)
        with self._moving(machine, previous) as lease:
            self._move(machine, version, sums, lease, "promote", previous, reason, metrics, gate)

    def refuse(
        self,
        machine: str,
        version: str,
        *,
        reason: str,
        metrics: dict[str, Any] | None = None,
        gate: RunDecision | None = None,
    ) -> None:
        """Record that the gate refused a candidate; the production pointer does not change."""
        self._manifest(machine, version)
        self._record("refuse", machine, version, reason, metrics, gate)

    def ask(
        self,
        machine: str,
        version: str,
        *,
        reason: str,
        metrics: dict[str, Any] | None = None,
        gate: RunDecision | None = None,
    ) -> None:
        """Record that a candidate waits for a person, who approves it with :meth:`promote`."""
        self._manifest(machine, version)
        self._record("ask", machine, version, reason, metrics, gate)

    def rollback(self, machine: str, *, reason: str) -> str:
        """Point production at the version that was there before the current one; returns that version.

        :raises MasdError: nothing is in production, there was no version before, that version is damaged, or another
            process is moving or has just moved the pointer.
        """
        history = self.history(machine)
        if not history:
            raise MasdError(f"{self.url}: {machine} has nothing in production to roll back; promote a version first")
        if len(history) == 1:
            raise MasdError(
                f"{self.url}: {machine} has no earlier production version than {history[0]}; promote the version that "
                "you want"
            )
        current, previous = history[0], history[1]
        sums = self.check(machine, previous)
        with self._moving(machine, current) as lease:
            self._move(machine, previous, sums, lease, "rollback", current, reason)
        return previous

    def history(self, machine: str) -> list[str]:
        """The version in production, then the versions of further rollbacks, newest first."""
        return productions(self.channel(machine, "production"), self.audit(machine, *MOVES))

    def audit(self, machine: str, *events: Event) -> list[dict[str, Any]]:
        """All records of a machine, or those of some events, oldest first."""
        check_machine_name(machine)
        return AuditTrail(self.store, machine).records(*events)

    def _in_production(self, machine: str) -> str | None:
        """The version of the production pointer or, if it cannot be read, of its last recorded move."""
        try:
            return self.channel(machine, "production")
        except StoreError:
            raise
        except MasdError:
            moves = self.audit(machine, *MOVES)
            return str(moves[-1]["version"]) if moves else None

    def _manifest(self, machine: str, version: str) -> bytes:
        """The manifest's bytes, which exist if and only if the version does."""
        place = place_of(machine)
        if version.isascii() and version.isdigit():
            with suppress(MissingObjectError):
                return self.store.read(f"{place}/{version}/{MANIFEST}")
        known = ", ".join(self.versions(machine)) or "none"
        raise MasdError(f"{self.url}: {machine} has no version {version!r} (versions: {known})")

    @contextmanager
    def _moving(self, machine: str, expected: str | None) -> Iterator[Lease]:
        """Lock the production pointer, if it still names ``expected``."""
        with exclusive(self.store, f"{place_of(machine)}/locks/production", f"{machine}: a promotion") as lease:
            found = self._in_production(machine)
            if found != expected:
                raise MasdError(
                    f"{self.url}: production of {machine} has just been moved from {expected or 'nothing'} to "
                    f"{found or 'nothing'} by somebody else; run masd registry show {machine} before you try again"
                )
            yield lease

    def _move(
        self,
        machine: str,
        version: str,
        sums_sha256: str,
        lease: Lease,
        event: Event,
        previous: str | None,
        reason: str,
        metrics: dict[str, Any] | None = None,
        gate: RunDecision | None = None,
    ) -> None:
        # the version is still there, and stays: pruning takes the same lock
        pointer = self._pointing_at(machine, version, sums_sha256)
        AuditTrail(self.store, machine).add(event, version, previous, reason, metrics, gate)
        with self.index.changing(machine):
            lease.check(f"{machine}: {event} to version {version}")
            self._write_pointer(machine, "production", pointer)

    def _record(
        self,
        event: Event,
        machine: str,
        version: str,
        reason: str,
        metrics: dict[str, Any] | None,
        gate: RunDecision | None,
    ) -> None:
        """A record of a decision that moves no pointer."""
        AuditTrail(self.store, machine).add(event, version, self.channel(machine, "production"), reason, metrics, gate)

    def _pointing_at(self, machine: str, version: str, sums_sha256: str) -> dict[str, str]:
        manifest = self.manifest_sha256(machine, version)
        return {"version": version, "manifest_sha256": manifest, "sums_sha256": sums_sha256, "time": now()}

    def _sums_sha256(self, machine: str, version: str) -> str:
        """The digest of a version's ``SHA256SUMS`` from a pointer or from the record of its registration.

        Empty if neither has it, as in registries of masd 0.1.0.
        """
        for name in CHANNELS[::-1]:
            try:
                pointer = self.pointer(machine, name)
            except StoreError:
                raise
            except MasdError:  # unreadable: the other pointer or the record may have it
                continue
            if pointer is not None and pointer["version"] == version and pointer.get("sums_sha256"):
                return str(pointer["sums_sha256"])
        return AuditTrail(self.store, machine).registered_sums(version)

    def _write_pointer(self, machine: str, channel: Channel, pointer: dict[str, str]) -> None:
        self.store.write(f"{place_of(machine)}/channels/{channel}.json", (json.dumps(pointer) + "\n").encode())
