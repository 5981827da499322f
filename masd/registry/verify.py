"""Check a registry; each problem is one line that names the repair."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from masd.data.machine_name import MACHINE_NAME
from masd.errors import MasdError
from masd.registry.audit import MOVES, AuditTrail
from masd.registry.layout import CLAIM, MANIFEST, numbered, place_of
from masd.registry.registry import CHANNELS, Channel, Registry
from masd.storage.folder import FolderStore
from masd.storage.locks import LEASE
from masd.storage.protocol import StoredObject, StoreError

BROKEN_OFF = timedelta(hours=1)
"""A registration that takes longer was killed."""


def verify(registry: Registry) -> list[str]:
    """Hash every file and check every pointer and record; returns one line per problem, with its repair.

    Work that may still be in progress, such as a registration of the last hour, is not a problem. The index is made
    again, unless this account cannot write it.
    """
    found: list[str] = []
    for machine in registry.store.children("models/").folders:
        if MACHINE_NAME.fullmatch(machine):
            found += _of_machine(registry, machine)
        else:
            found.append(f"{registry.url}/models/{machine}: is not the folder of a machine; move it away")
    with suppress(StoreError):
        registry.index.rebuild()
    return found


def broken_off(files: dict[str, StoredObject], now: datetime) -> bool:
    """Whether the newest of these objects is so old that its writer must have been killed."""
    return now - max(item.modified for item in files.values()) > BROKEN_OFF


def _of_machine(registry: Registry, machine: str) -> Iterator[str]:
    prune = f"masd registry prune {machine} removes it"
    now, trail = datetime.now(UTC), AuditTrail(registry.store, machine)
    known = trail.versions("register") - trail.versions("prune")
    versions = numbered(registry.store, machine)
    for version, files in versions.items():
        where = f"{registry.url}/models/{machine}/{version}"
        if MANIFEST not in files:
            if broken_off(files, now):
                yield f"{where}: is a leftover of a killed process, not a version; {prune}"
        else:
            try:
                registry.check(machine, version)
            except MasdError as error:
                yield str(error)
            if any(name.startswith(CLAIM) for name in files) and broken_off(files, now):
                yield f"{where}: is complete, but its registration was interrupted and left a lock; {prune}"
    if isinstance(registry.store, FolderStore) and (left := registry.store.leftovers(place_of(machine))):
        yield f"{registry.url}/models/{machine}: {len(left)} hidden files of killed processes ({left[0].name}); {prune}"
    for version in sorted(known - set(versions), key=int):
        yield (
            f"{registry.url}: {machine} version {version} was registered, but is not there: the registration did not "
            f"finish, or somebody deleted the version; masd registry prune {machine} records that"
        )
    for name in CHANNELS:
        try:
            yield from _pointer(registry, machine, name)
        except MasdError as error:
            yield f"{name} pointer: {error}"
    try:
        yield from _last_move(registry, machine, now)
    except MasdError as error:
        yield str(error)


def _pointer(registry: Registry, machine: str, name: Channel) -> Iterator[str]:
    pointer = registry.pointer(machine, name)
    if pointer is None:
        return
    digest = registry.manifest_sha256(machine, pointer["version"])
    if pointer.get("manifest_sha256", digest) != digest:
        yield (
            f"{registry.url}: {machine} version {pointer['version']} has changed since the {name} pointer was set (its "
            f"manifest differs); promote another version with masd registry promote"
        )


def _last_move(registry: Registry, machine: str, now: datetime) -> Iterator[str]:
    moves = registry.audit(machine, *MOVES)
    try:
        place = registry.channel(machine, "production")
    except MasdError:  # said already
        return
    if not moves or moves[-1]["version"] == place:
        return
    last = moves[-1]
    if now - datetime.fromisoformat(last["time"]) > LEASE:
        yield (
            f"{registry.url}: {machine} {last['event']} to version {last['version']} at {last['time']} did not finish: "
            f"production is {place or 'nothing'}; set the right version with masd registry promote"
        )
