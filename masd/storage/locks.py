"""Locks in a store that has neither locks nor conditional writes.

Whoever wants to be alone writes a claim with a name of its own and then lists the claims. Who sees only his own is
alone: everybody who comes later sees it. Who sees another's withdraws. That two come at the same moment and both
withdraw can happen, that both stay cannot, as long as a listing shows every object whose write has ended, as S3 and
file systems promise.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from uuid import uuid4

from masd.storage.protocol import ObjectStore, StoreError

LEASE = timedelta(seconds=30)
"""A claim that is older, by the store's clock, is of a process that was killed."""
ATTEMPTS, PAUSE_S = 8, 0.2


class BusyError(StoreError):
    """Another process holds what was asked for."""


class Lease:
    """Proof of being alone, for a while; ``now`` is when it began by the store's clock."""

    def __init__(self, now: datetime, begun: float) -> None:
        self.now = now
        self._until = begun + LEASE.total_seconds() / 2

    def check(self, doing: str) -> None:
        """Call before the write that counts.

        :raises BusyError: so much time has passed that another may believe this process dead.
        """
        if time.monotonic() > self._until:
            raise BusyError(f"{doing}: took so long that another process may do it too; nothing was changed, try again")


@contextmanager
def exclusive(store: ObjectStore, place: str, doing: str) -> Iterator[Lease]:
    """Be the only one inside such a block with this ``place`` of the store, on any machine.

    :param doing: for messages, such as "fan: a promotion".
    :raises BusyError: another one is inside, and stays there for longer than it takes to try a few times.
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
    """The store's time if there is no other claim but those of the dead, which are removed."""
    claims = {item.key: item.modified for item in store.list(f"{place}/")}
    now = claims.pop(own, None)
    if now is None:  # taken for a dead one's
        return None
    dead = [key for key, modified in claims.items() if now - modified > LEASE]
    for key in dead:
        store.delete(key)
    return now if len(dead) == len(claims) else None
