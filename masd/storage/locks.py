"""Locks in a store that has neither locks nor conditional writes.

A process that wants the lock writes a claim with a unique name, and then lists the claims. If its own is the only one,
it has the lock, because every later process sees this claim. If there is another, it withdraws its own. Two processes
that come at the same moment may both withdraw, but cannot both get the lock, as long as a listing shows every object
whose write has ended. S3 and file systems guarantee this.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from uuid import uuid4

from masd.storage.protocol import ObjectStore, StoreError

LEASE = timedelta(seconds=30)
"""A claim that is older, by the store's clock, belongs to a killed process."""
ATTEMPTS, PAUSE_S = 8, 0.2


class BusyError(StoreError):
    """Another process has the lock."""


class Lease:
    """The lock, for :data:`LEASE`; ``now`` is the time of its start by the store's clock."""

    def __init__(self, now: datetime, begun: float) -> None:
        self.now = now
        self._until = begun + LEASE.total_seconds() / 2

    def check(self, doing: str) -> None:
        """Call before the write that needs the lock.

        :raises BusyError: the lease has expired, so another process may have the lock.
        """
        if time.monotonic() > self._until:
            raise BusyError(f"{doing} took too long and lost its lock; nothing was changed: try again")


@contextmanager
def exclusive(store: ObjectStore, place: str, doing: str) -> Iterator[Lease]:
    """Lock ``place`` of the store for the block, against processes on any computer.

    :param doing: for messages, such as "fan: a promotion".
    :raises BusyError: another process still has the lock after a few tries.
    """
    for attempt in range(ATTEMPTS):
        own, begun = f"{place}/{uuid4().hex}", time.monotonic()
        store.write(own, b"")
        try:
            if (now := _alone(store, place, own)) is not None:
                yield Lease(now, begun)
                return
        finally:
            with suppress(StoreError):  # what was done inside is done; the claim runs out by itself
                store.delete(own)
        time.sleep(random.uniform(0, PAUSE_S * (attempt + 1)))  # noqa: S311 - no secret
    raise BusyError(
        f"{doing} is in progress in another process; check its "
        f"outcome before you try again (if it was killed, its lock expires after {LEASE.total_seconds():.0f} s)"
    )


def _alone(store: ObjectStore, place: str, own: str) -> datetime | None:
    """The store's time, if there is no other valid claim. Expired claims are removed."""
    claims = {item.key: item.modified for item in store.list(f"{place}/")}
    now = claims.pop(own, None)
    if now is None:  # taken for a dead one's
        return None
    dead = [key for key, modified in claims.items() if now - modified > LEASE]
    for key in dead:
        store.delete(key)
    return now if len(dead) == len(claims) else None
