"""Load on an HTTP server: any number of clients, each with one connection that it keeps.

Written on sockets: a client library would take more of the two cores than the network does.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from urllib.parse import urlsplit

from serving.client import RETRIED

Seen = Callable[[int, int, bytes], None]
"""Called with a request's number, the status and the body of its answer; status 0 is no answer."""

TIMEOUT_SECONDS = 60.0

WARM_UP = 1500
"""Requests before anything is measured: until then Java compiles what it has seen to be used often."""

SENT_AGAIN = (0, *RETRIED)
RETRY_PAUSE_SECONDS = 0.2
"""As our client does: sent again where the server was busy, restarting, or not to be reached."""


@dataclass
class Load:
    """What some clients saw: seconds to each answer, answers by status, and how long it took in all."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    retried: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers with status 200 in a second."""
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def drive(
    url: str,
    path: str | Callable[[int], str],
    body_of: Callable[[int], bytes],
    clients: int,
    *,
    requests: int | None = None,
    seconds: float | None = None,
    seen: Seen | None = None,
    content_type: str = "audio/wav",
    retries: int = 0,
) -> Load:
    """POST ``body_of(n)`` to ``path``, or to ``path(n)``, for ``n`` = 0, 1, ... from ``clients`` threads.

    Until ``requests`` are done or time is up.
    """
    load, lock, start = Load(), threading.Lock(), time.perf_counter()
    taken = 0

    def take() -> int | None:
        nonlocal taken
        with lock:
            if taken == requests or (seconds is not None and time.perf_counter() - start >= seconds):
                return None
            taken += 1
            return taken - 1

    def client() -> None:
        connection = _Connection(url)
        while (number := take()) is not None:
            body, to = body_of(number), path if isinstance(path, str) else path(number)
            begin = time.perf_counter()
            status, answer = connection.post(to, body, content_type)
            for _ in range(retries):
                if status not in SENT_AGAIN:
                    break
                with lock:
                    load.retried += 1
                time.sleep(RETRY_PAUSE_SECONDS)
                status, answer = connection.post(to, body, content_type)
            latency = time.perf_counter() - begin
            with lock:
                load.latencies.append(latency)
                load.statuses[status] = load.statuses.get(status, 0) + 1
            if seen is not None:
                seen(number, status, answer)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - start
    return load


def drive_in_turn(url: str, paths: Sequence[str], body: bytes, clients: int, seconds: float) -> Load:
    """:func:`drive` with one body to each path in turn."""
    return drive(url, lambda number: paths[number % len(paths)], lambda _: body, clients, seconds=seconds)


@contextmanager
def clients_apart() -> Iterator[Callable[[str, Sequence[str], bytes, int, float], Load]]:
    """:func:`drive_in_turn` in a process of its own: in this one, clients and the server's relay would share one
    interpreter.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda *load: pool.submit(drive_in_turn, *load).result()


class _Connection:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._socket: socket.socket | None = None

    def post(self, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        """Status and body; status 0 where the connection broke."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._address[0]}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, TIMEOUT_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(head.encode() + body)
            return self._answer(self._socket)
        except OSError:
            self.close()
            return 0, b""

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += _some(connection)
        head, _, body = received.partition(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        length = next(int(item.split(b":")[1]) for item in fields if item.startswith(b"content-length:"))
        while len(body) < length:
            body += _some(connection)
        if b"connection: close" in fields:
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _some(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    if not received:
        raise ConnectionResetError("closed in the middle of an answer")
    return received
