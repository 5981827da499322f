"""Callers that never rest: every answer is checked, every wait is measured."""

import http.client
import json
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.server.chaos.fleet import Fleet
from bench.server.chaos.server import TOKEN

CALLERS = 4
PAUSE_SECONDS = 0.1
"""Between an answer and a caller's next clip: some cores are left for what has to be loaded."""

TOLERANCE = 1e-5
CALLER_SECONDS = 120.0
"""A caller's own patience; whoever waits so long has no answer."""

REFUSALS = (500, 503, 507)
"""Documented for a server that is busy or starting, and for a clip whose worker has just died."""

NAME = "chaos-{}"
BOUNDARY = "chaos-boundary"


@dataclass
class Traffic:
    """``answered`` has the machine and the time of each answer by request id; ``wrong`` are answers that nothing
    explains, in words.
    """

    url: str
    fleet: Fleet
    answered: dict[str, tuple[str, float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest_wait: tuple[float, str] = (0.0, "")
    server_is_down: threading.Event = field(default_factory=threading.Event)
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait for the answers that are still out."""
        self._ended.set()
        for thread in self._threads:
            thread.join(CALLER_SECONDS)

    def ask(self, machine: str) -> str | None:
        """Have ``machine`` score a clip; the version that did, None where it was refused."""
        with self._lock:
            number = self._number
            self._number += 1
        clip, name = number % len(self.fleet.clips), NAME.format(number)
        begin, was_down = time.monotonic(), self.server_is_down.is_set()
        status, body = _post(self.url, machine, name, self.fleet.clips[clip])
        waited = time.monotonic() - begin
        was_down = was_down or self.server_is_down.is_set()
        with self._lock:
            self.statuses[status] += 1
            self.longest_wait = max(self.longest_wait, (waited, f"{machine}, answered {status}"))
            if status == 200:
                return self._check(machine, name, clip, json.loads(body))
            if status not in REFUSALS and not (status == 0 and was_down):
                self.wrong.append(f"{name} for {machine}: {status} {body[:200]!r}")
        return None

    def _check(self, machine: str, name: str, clip: int, answer: dict[str, Any]) -> str:
        self.answered[name] = (machine, time.time())
        version, score = str(answer["model_version"]), float(answer["score"])
        expected = self.fleet.machines[machine].known[version][clip]
        right = (
            (answer["machine_type"], answer["request_id"]) == (machine, name)
            and math.isclose(score, expected, rel_tol=TOLERANCE)
            and answer["anomalous"] == (score > answer["threshold"])
        )
        if not right:
            self.wrong.append(f"{name} for {machine}, version {version}: {answer}, score {expected} expected")
        return version

    def _call(self, turn: int) -> None:
        names = list(self.fleet.machines)
        while not self._ended.wait(PAUSE_SECONDS):
            self.ask(names[turn % len(names)])
            turn += 1


def _post(url: str, machine: str, name: str, clip: bytes) -> tuple[int, bytes]:
    """Status and body; status 0 where there was no answer."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request_id"\r\n\r\n{name}\r\n--{BOUNDARY}\r\n'
    file = 'Content-Disposition: form-data; name="data"; filename="clip.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    body = b"".join([head.encode(), file.encode(), clip, f"\r\n--{BOUNDARY}--\r\n".encode()])
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=CALLER_SECONDS)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Authorization": f"Bearer {TOKEN}"}
    try:
        connection.request("POST", f"/predictions/{machine}", body, kind)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
