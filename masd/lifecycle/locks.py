"""One at a time, in a store that has neither locks nor conditional writes.

Whoever wants to be alone writes a claim with a name of its own and then lists the claims. Who sees only his own is
alone: everybody who comes later sees it. Who sees another's withdraws. That two come at the same moment and both
withdraw can happen, that both stay cannot, as long as a listing shows every object whose write has ended, as S3 and
file systems promise.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from masd.lifecycle.object_store import ObjectStore, StoreError

LEASE = timedelta(seconds=30)
"""A claim that is older, by the store's clock, is of a process that was killed."""
ATTEMPTS, PAUSE_S = 8, 0.2


class BusyError(StoreError):
    """Another process holds what was asked for."""


class Lease:
    """Proof of being alone, for a while."""

    def __init__(self) -> None:
        self._until = time.monotonic() + LEASE.total_seconds() / 2

    def check(self, doing: str) -> None:
        """Call before the write that counts.

        :raises BusyError: so much time has passed that another may believe this process dead.
        """
        if time.monotonic() > self._until:
            raise BusyError(f"{doing}: took too long to be sure that nobody else does it; nothing moved, try again")


@contextmanager
def exclusive(store: ObjectStore, place: str, doing: str) -> Iterator[Lease]:
    """Be the only one inside such a block with this ``place`` of the store, on any machine.

    :param doing: for messages, such as "fan: a promotion".
    :raises BusyError: another one is inside, and stays there for longer than it takes to try a few times.
    """
    for attempt in range(ATTEMPTS):
        own = f"{place}/{uuid4().hex}"
        lease = Lease()
        try:
            store.write(own, b"")
            if _alone(store, place, own):
                yield lease
                return
        finally:
            store.delete(own)
        time.sleep(random.uniform(0, PAUSE_S * (attempt + 1)))  # noqa: S311 - no secret
    raise BusyError(f"{doing} is under way elsewhere; look at the outcome before you try again")


def _alone(store: ObjectStore, place: str, own: str) -> bool:
    claims = {item.key: item.modified for item in store.list(f"{place}/")}
    if own not in claims:  # taken for a dead one's
        return False
    others = {key: modified for key, modified in claims.items() if key != own}
    for key, modified in others.items():
        if claims[own] - modified > LEASE:
            store.delete(key)
    return all(claims[own] - modified > LEASE for modified in others.values())
