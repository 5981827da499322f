"""Limits: connections in all, requests of one machine at a time, and nothing new once the server is stopping.

Both listeners ask here, so the limits are the same whether a token is asked for or not.
"""

import asyncio
import re
import resource
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from masd.files import json_text
from masd.progress import print_line

MOST_IN_FLIGHT = 64
"""Requests of one machine: eight batches. What comes beyond would only wait, and take cores from other machines."""

RETRY_SECONDS = 1

REFUSE_SECONDS = 0.5
"""Seconds for the refusals to callers who still wait when the server stops."""

FIRST_HEAD_SECONDS, NEXT_HEAD_SECONDS = 15.0, 75.0
"""Until the headers of the first request of a connection have come, and of another one."""

BODY_SECONDS, BODY_BYTES_PER_SECOND = 30.0, 64_000
"""For a body: so long, and as long again as it takes at this rate."""

USUAL_BYTES = 4 << 20
USUAL_SECONDS, LONGEST_SECONDS = 30.0, 600.0
"""Until the answer begins: to a body of the size of usual clips, and to a larger one. TorchServe has 600 s too."""

_MACHINE = re.compile(r"/(?:predictions|explanations|v[12]/models)/([^/?:]+)")


@dataclass(frozen=True)
class Refusal:
    """An error that the listener answers by itself."""

    code: int
    error: str
    detail: str

    def body(self) -> bytes:
        """``{"code", "error", "detail"}``."""
        return json_text({"code": self.code, "error": self.error, "detail": self.detail}).encode()


BUSY = Refusal(503, "busy", f"{MOST_IN_FLIGHT} requests of this machine are being answered: try again in a second")
STOPPING = Refusal(503, "stopping", "the server is stopping: try again on another server")
NOT_READY = Refusal(503, "not_ready", "TorchServe does not answer, or has not loaded this machine yet: try again")
NO_ANSWER = Refusal(503, "no_answer", "no answer in time: try again")
SLOW = Refusal(408, "too_slow", "the request did not arrive in time: send it faster")


class Traffic:
    """The requests that are being answered. Used in the thread of one listener; others only read it and end it."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self.stopping = False
        """Nothing new is let in."""
        self.refused = Counter({refusal.error: 0 for refusal in (BUSY, NO_ANSWER, NOT_READY, SLOW, STOPPING)})
        """Refusals by their ``error``."""
        self._most = most
        self._in_flight: Counter[str] = Counter()
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def count(self) -> int:
        """Requests that are being answered."""
        return self._in_flight.total()

    def refusal(self, machine: str) -> Refusal | None:
        """Why another request of a machine is not let in; None where it is."""
        if self.stopping:
            return self.refuse(STOPPING)
        return self.refuse(BUSY) if machine and self._in_flight[machine] >= self._most else None

    def refuse(self, refusal: Refusal) -> Refusal:
        """Count a refusal; returns it."""
        self.refused[refusal.error] += 1
        return refusal

    def enter(self, machine: str) -> None:
        """A request is being answered from now on."""
        self._in_flight[machine] += 1

    def leave(self, machine: str) -> None:
        """It has been answered, or nobody waits for it any more."""
        self._in_flight[machine] -= 1
        if self._in_flight[machine] <= 0:
            del self._in_flight[machine]

    async def over(self) -> None:
        """Wait until the server gives up on the remaining answers; runs in the listener's thread."""
        self._loop = asyncio.get_running_loop()
        await self._over.wait()

    def drain(self, seconds: float) -> None:
        """Let nothing new in, wait until nothing is being answered, at most so long, and have the rest refused.

        Of any thread but the listener's.
        """
        self.stopping = True
        deadline = time.monotonic() + seconds
        while self.count and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._loop is not None and self.count:
            self._loop.call_soon_threadsafe(self._over.set)
            deadline = time.monotonic() + REFUSE_SECONDS
            while self.count and time.monotonic() < deadline:
                time.sleep(0.05)


class Room:
    """The connections of one listener. Where there is no room, the one that has asked for nothing longest makes it.

    So a caller who opens connections and never sends a whole request keeps nobody out.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most_connections() if most is None else most
        self._idle: OrderedDict[object, Callable[[], None]] = OrderedDict()
        self._busy: set[object] = set()
        self._said = float("-inf")

    def enter(self, connection: object, close: Callable[[], None]) -> bool:
        """Whether a new connection has room; ``close`` ends it, should it ever have to make some."""
        if len(self._idle) + len(self._busy) >= self.most:
            self._say()
            if not self._idle:
                return False
            _, close_oldest = self._idle.popitem(last=False)
            close_oldest()
        self._idle[connection] = close
        return True

    def asks(self, connection: object) -> None:
        """The headers of a request have come."""
        if self._idle.pop(connection, None) is not None:
            self._busy.add(connection)

    def rests(self, connection: object, close: Callable[[], None]) -> None:
        """It was answered, and another one may come."""
        if connection in self._busy:
            self._busy.discard(connection)
            self._idle[connection] = close

    def leave(self, connection: object) -> None:
        """The connection has ended."""
        self._idle.pop(connection, None)
        self._busy.discard(connection)

    def _say(self) -> None:
        if time.monotonic() - self._said >= 60.0:
            self._said = time.monotonic()
            print_line(
                f"masd: {self.most} connections are open, the limit: idle ones are closed; find out who opens them"
            )


def most_connections() -> int:
    """Of one listener: each needs two descriptors, and some are left for everything else."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(2_000, (descriptors - 256) // 2))


def machine_of(path: str) -> str:
    """The machine that a request is for; empty where it is for none."""
    found = _MACHINE.match(path)
    return found[1] if found else ""


def body_seconds(length: int | None) -> float:
    """For a body of so many bytes, or of unstated length, to come."""
    return LONGEST_SECONDS if length is None else BODY_SECONDS + length / BODY_BYTES_PER_SECOND


def answer_seconds(length: int | None) -> float:
    """Until the answer to a body of so many bytes, or of unstated length, begins."""
    return USUAL_SECONDS if length is not None and length <= USUAL_BYTES else LONGEST_SECONDS
