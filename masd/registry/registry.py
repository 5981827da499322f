"""The registry: immutable versions, small pointers, and a record of every decision, in a folder or a bucket.

::

    models/<machine>/<version>/...                          a bundle, its .mar and SHA256SUMS, never changed
    models/<machine>/channels/{candidate,production}.json   pointers: version, digests, time
    models/<machine>/audit/<time>-<event>-<version>-*.json  one record per decision
    models/<machine>/locks/production/...                   who is moving the production pointer just now
    index/...                                               what has changed: see :mod:`masd.registry.index`

A store has no transactions, so the order of writes makes up for them. A version is there if and only if its
``manifest.json`` is:

* *register*: claim a number, all files but the manifest, the record, the manifest, the candidate pointer, release
  the claim. Killed before the manifest: no version, its number stays unused. Killed after it: a version that the
  candidate pointer does not name yet.
* *promote* and *rollback*: check every digest of the version; alone (see :mod:`masd.storage.locks`): read the pointer
  again, the record, the pointer. Killed between the two: a record of a move that has not happened. The pointer
  counts, and since every record also says where the pointer stood before, such a record is known by it.
* *prune*: alone, as above: the manifest, the record, all other files. Killed between them: no version; pruning again
  goes on.

:func:`masd.registry.verify.verify` reports each of these and says what mends it. What a call has returned for is never
undone by a crash of either side.
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
        """What a version says of itself, whatever its schema; its other files are not looked at.

        :raises MasdError: there is no such version, or its manifest is damaged.
        """
        where = f"{self.url}/{place_of(machine)}/{version}"
        return parse_manifest(self._manifest(machine, version), where, any_schema=True)

    def settings(self, machine: str, version: str) -> Settings:
        """What a version was trained and judged with.

        :raises MasdError: there is no such version, or its settings cannot be read.
        """
        key = f"{place_of(machine)}/{version}/config.yaml"
        return Settings.from_yaml(self.store.read(key).decode("utf-8", "replace"), f"{self.url}/{key}")

    def manifest_sha256(self, machine: str, version: str) -> str:
        """Digest of a version's manifest, as pointers have it.

        :raises MasdError: there is no such version.
        """
        return hashlib.sha256(self._manifest(machine, version)).hexdigest()

    def fetch(self, machine: str, version: str) -> Path:
        """A verified folder of a version: the registry's own, or a cached copy. It can be loaded as a bundle, unless
        its schema is another (:class:`OtherSchemaError`); its archive can be served then too.

        :raises MasdError: there is no such version, or a file of it is missing or not what was registered.
        """
        self._manifest(machine, version)
        place = f"{place_of(machine)}/{version}"
        if not isinstance(self.store, FolderStore):
            return cached_version(self.store, place, machine, version, self._sums_sha256(machine, version))
        folder = self.store.root / place
        check_version(folder, machine, version, self._sums_sha256(machine, version))
        return folder

    def check(self, machine: str, version: str) -> str:
        """Hash what the store holds of a version now; returns the digest of its ``SHA256SUMS``.

        :raises MasdError: as :meth:`fetch`.
        """
        self._manifest(machine, version)
        place = f"{place_of(machine)}/{version}"
        return check_stored(self.store, place, machine, version, self._sums_sha256(machine, version))

    def channel(self, machine: str, name: Channel) -> str | None:
        """The version a pointer names, or None where it was never set."""
        pointer = self.pointer(machine, name)
        return None if pointer is None else str(pointer["version"])

    def in_production(self, machines: Iterable[str] | None = None) -> dict[str, str]:
        """The version in production by machine, of those given or of all; one with nothing there is left out."""
        if machines is None:
            look = self.look()
            for problem in look.problems.values():
                raise MasdError(problem)
            return look.production
        found = {machine: self.channel(machine, "production") for machine in machines}
        return {machine: version for machine, version in found.items() if version is not None}

    def look(self) -> Look:
        """What is in production, of all machines; asked again by the same object, it costs little where nothing moves.

        One request to a bucket with an index (:mod:`masd.registry.index`) where nothing has changed; of what has, a
        few and one a machine. A machine whose pointer cannot be read is a problem of its own and stops no other.

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
        """Versions and pointers of every machine that has some.

        :raises StoreError: the store cannot be used.
        """
        known = self.index.look()
        names = dict.fromkeys(machine_folders(self.store)) if known is None else known
        found = [self._or_asked(name, entry) for name, entry in names.items()]
        return [entry for entry in found if entry.versions]

    def _or_asked(self, machine: str, entry: Entry | None) -> Entry:
        return entry_of(self.store, machine) if entry is None else entry

    def pointer(self, machine: str, name: Channel) -> dict[str, Any] | None:
        """All a pointer says: ``version``, ``manifest_sha256``, ``sums_sha256`` (not of masd 0.1.0), ``time``."""
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

        ``build(folder, version)`` may add files (the .mar) to a copy before it goes into the store. Two that register
        at once get two versions. What goes wrong on the way leaves no version behind.
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
        """Point ``candidate`` at a version, as registering does; for one whose writer was killed just before that."""
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

        :param gate: what let it pass, where a pipeline run acts.
        :raises MasdError: no such version, a damaged one, or somebody else is moving the pointer or has just moved it.
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
        """Record that a candidate may not ship; production stays where it is."""
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
        """Record that a candidate may ship once a person approves it, by :meth:`promote`."""
        self._manifest(machine, version)
        self._record("ask", machine, version, reason, metrics, gate)

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
        sums = self.check(machine, previous)
        with self._moving(machine, current) as lease:
            self._move(machine, previous, sums, lease, "rollback", current, reason)
        return previous

    def history(self, machine: str) -> list[str]:
        """What is in production, and what further rollbacks would bring back, newest first."""
        return productions(self.channel(machine, "production"), self.audit(machine, *MOVES))

    def audit(self, machine: str, *events: Event) -> list[dict[str, Any]]:
        """All records of a machine, or those of some events, oldest first."""
        check_machine_name(machine)
        return AuditTrail(self.store, machine).records(*events)

    def _in_production(self, machine: str) -> str | None:
        """The production pointer, or what it was last set to where it cannot be read any more."""
        try:
            return self.channel(machine, "production")
        except StoreError:
            raise
        except MasdError:
            moves = self.audit(machine, *MOVES)
            return str(moves[-1]["version"]) if moves else None

    def _manifest(self, machine: str, version: str) -> bytes:
        """The manifest's bytes, which are there if and only if the version is."""
        place = place_of(machine)
        if version.isascii() and version.isdigit():
            with suppress(MissingObjectError):
                return self.store.read(f"{place}/{version}/{MANIFEST}")
        known = ", ".join(self.versions(machine)) or "none"
        raise MasdError(f"{self.url}: {machine} has no version {version!r} (versions: {known})")

    @contextmanager
    def _moving(self, machine: str, expected: str | None) -> Iterator[Lease]:
        """Alone with the production pointer, which still names what the caller has seen there."""
        with exclusive(self.store, f"{place_of(machine)}/locks/production", f"{machine}: another promotion") as lease:
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
        """What ``SHA256SUMS`` of a version must be: by a pointer, or by the record of its registration.

        Empty where neither says so, which is how masd 0.1.0 left them.
        """
        for name in CHANNELS[::-1]:
            try:
                pointer = self.pointer(machine, name)
            except StoreError:
                raise
            except MasdError:  # unreadable: the other and the record may know
                continue
            if pointer is not None and pointer["version"] == version and pointer.get("sums_sha256"):
                return str(pointer["sums_sha256"])
        return AuditTrail(self.store, machine).registered_sums(version)

    def _write_pointer(self, machine: str, channel: Channel, pointer: dict[str, str]) -> None:
        self.store.write(f"{place_of(machine)}/channels/{channel}.json", (json.dumps(pointer) + "\n").encode())
