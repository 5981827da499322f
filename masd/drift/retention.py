"""Remove old days of an inference log."""

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
    """Remove the records of all machines that servers sent more than ``days`` days ago, a whole day at a time.

    Only objects below ``<machine>/<day>/`` are removed; files that people or workers wrote elsewhere are kept.

    :raises StoreError: the store cannot be used; some days may have been removed already.
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
