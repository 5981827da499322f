"""One caller of a machine beside many callers of another one: what separates machines of one server."""

import tempfile
import threading
from pathlib import Path
from unittest.mock import patch

from bench.fleet import renamed
from bench.load import Load, drive
from bench.model import MACHINE, BenchModel
from serving.front.traffic import RETRY_SECONDS
from serving.server import running_server

QUIET = "quiet"
CROWDS = (0, 8, 64, 200)
SECONDS = 20.0
HEAD_START = 3.0
MANY = 1_000_000
"""Retries of the crowd, which comes again as often as it is told to, and as late."""


def measure_fairness(model: BenchModel) -> None:
    """Print the latencies of one client of a machine, while so many clients ask another machine of the server."""
    audio = model.clips[0].read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        quiet = renamed(model.bundle, QUIET, Path(folder) / QUIET)
        with running_server([model.bundle, quiet], log_folder=Path(folder) / "log") as server:
            print(f"one client of a machine beside a crowd at another one, clips of 10 s, {SECONDS:g} s each:")
            for crowd in CROWDS:
                alone, beside = _together(server.url, audio, crowd)
                shown = " / ".join(f"{alone.percentile(share) * 1e3:.0f}" for share in (0.5, 0.95, 0.99))
                other = f"; the crowd: {beside.per_second:.0f} clips/s" if crowd else ""
                print(f"  {crowd:3} clients: p50 / p95 / p99 {shown} ms, {dict(alone.statuses)}{other}", flush=True)


def _together(url: str, audio: bytes, clients: int) -> tuple[Load, Load]:
    """The loads of the one and of the crowd."""
    crowd = Load()

    def press() -> None:
        nonlocal crowd
        path = f"/predictions/{MACHINE}"
        with patch("bench.load.RETRY_PAUSE_SECONDS", RETRY_SECONDS):
            crowd = drive(url, path, lambda _: audio, clients, seconds=SECONDS + HEAD_START, retries=MANY)

    thread = threading.Thread(target=press)
    thread.start()
    thread.join(HEAD_START)
    alone = drive(url, f"/predictions/{QUIET}", lambda _: audio, 1, seconds=SECONDS)
    thread.join()
    return alone, crowd
