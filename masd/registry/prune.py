"""Remove old versions, and the files of interrupted registrations."""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from masd.errors import MasdError
from masd.registry.audit import MOVES, AuditTrail
from masd.registry.layout import CLAIM, MANIFEST, numbered, place_of, whole
from masd.registry.registry import CHANNELS, Registry
from masd.registry.verify import broken_off
from masd.storage.folder import FolderStore
from masd.storage.locks import exclusive

PRODUCTIONS = 3
"""The last versions in production that are always kept, for rollbacks."""


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be: versions, and numbers of interrupted registrations."""

    versions: list[str]
    broken_off: list[str]


def prune(registry: Registry, machine: str, *, keep: int, dry_run: bool = False) -> Pruned:
    """Remove all but the newest ``keep`` versions, those a pointer names and the last three that were in production.

    The files of registrations and prunes that were killed are removed too; their records stay. Pointers are locked
    meanwhile.

    :raises MasdError: ``keep`` is below 1, a pointer cannot be read, or another process is moving one. Nothing is
        removed then.
    """
    if keep < 1:
        raise MasdError(f"prune {machine}: the newest version is always kept; give --keep 1 or more")
    place = place_of(machine)
    alone = exclusive(registry.store, f"{place}/locks/production", f"{machine}: a promotion")
    changing = registry.index.changing(machine)
    with nullcontext() if dry_run else alone as lease, nullcontext() if dry_run else changing:
        now = lease.now if lease else datetime.now(UTC)
        trail = AuditTrail(registry.store, machine)
        begun, gone = trail.versions("register"), trail.versions("prune")
        objects, needed = numbered(registry.store, machine), _needed(registry, machine)
        versions = whole(objects)
        old = [version for version in versions[:-keep] if version not in needed]
        half = sorted(
            {number for number in set(objects) - set(versions) if number in gone or broken_off(objects[number], now)}
            | (begun - gone - set(objects)),
            key=int,
        )
        if lease is None:
            return Pruned(old, half)
        for number in old + half:
            lease.check(f"{machine}: pruning version {number}")
            registry.store.delete(f"{place}/{number}/{MANIFEST}")  # first: without it there is no version
            if number not in gone:
                what = f"keep {keep}" if number in old else "its registration was interrupted"
                trail.add("prune", number, None, what)
            for name in objects.get(number, {}):
                registry.store.delete(f"{place}/{number}/{name}")
        for version in set(versions) - set(old):
            claims = [name for name in objects[version] if name.startswith(CLAIM)]
            for name in claims if broken_off(objects[version], now) else ():
                registry.store.delete(f"{place}/{version}/{name}")
        if isinstance(registry.store, FolderStore):
            for path in registry.store.leftovers(place):
                path.unlink(missing_ok=True)
        return Pruned(old, half)


def _needed(registry: Registry, machine: str) -> set[str]:
    pointed = {version for name in CHANNELS if (version := registry.channel(machine, name)) is not None}
    moved = [str(record["version"]) for record in registry.audit(machine, *MOVES)]
    latest = list(dict.fromkeys(reversed(moved)))[:PRODUCTIONS]
    return pointed | {*latest, *registry.history(machine)[:PRODUCTIONS]}
