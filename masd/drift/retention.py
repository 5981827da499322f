"""How long an inference log is kept: whole days of shipped records are removed once they are old enough."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from masd.drift.log_files import DAY
from masd.storage.folder import FolderStore
from masd.storage.protocol import ObjectStore


@dataclass(frozen=True)
class PrunedLog:
    """What was removed, or would be; ``days`` are ``<machine>/<day>``."""

    days: list[str]
    objects: int
    size: int


def prune_log(store: ObjectStore, days: int, *, now: datetime | None = None, dry_run: bool = False) -> PrunedLog:
    """Remove what servers have shipped more than ``days`` days ago, a whole day at a time, of every machine.

    Only objects below ``<machine>/<day>/`` are removed: files that people or workers wrote elsewhere stay.

    :raises StoreError: the store cannot be used; what was removed before stays removed.
    """
    first = ((now or datetime.now(UTC)) - timedelta(days=days)).date().isoformat()
    removed, objects, size = [], 0, 0
    for machine in store.children().folders:
        for day in store.children(f"{machine}/").folders:
            if not DAY.fullmatch(day) or day >= first:
                continue
            for item in list(store.list(f"{machine}/{day}/")):
                objects, size = objects + 1, size + item.size
                if not dry_run:
                    store.delete(item.key)
            if isinstance(store, FolderStore) and not dry_run:
                with suppress(OSError):  # something else lies in it
                    (store.root / machine / day).rmdir()
            removed.append(f"{machine}/{day}")
    return PrunedLog(removed, objects, size)
