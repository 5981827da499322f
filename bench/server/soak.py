"""``make soak``: serve tens of thousands of clips, some broken, through an upgrade, a rollback and a killed worker.

Every good clip's score is known for both versions, so an answer is right or wrong; every answered clip must be in the
shipped log; and no worker may grow.
"""

import json
import math
import os
import signal
import statistics
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from bench.load import drive
from bench.model import MACHINE, BenchModel
from bench.serving import worker_memory
from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.errors import MasdError
from masd.lifecycle import steps
from masd.registry.registry import Registry
from serving.server import RunningServer, running_server

CLIENTS = 8
BAD_EVERY = 100
UPGRADE, KILL, ROLLBACK = 0.25, 0.5, 0.7
"""When, as a share of all clips."""

TOLERANCE = 1e-5
RETRIES = 50
WATCH_SECONDS = 1.0
WARM_UP = 20
"""A worker's first measurements, which do not count: arenas and caches fill with the first thousand clips."""

MAX_GROWTH = 0.05
LEAST_MEASUREMENTS = 20
"""After warming up; a worker that was there for less says nothing."""

BOUNDARY = "soak-boundary"
BAD = (b"not audio at all", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"\x89PNG\r\n\x1a\n" + bytes(200), b"<html></html>")

Known = dict[str, list[float]]
"""Version -> the score of each clip."""


@dataclass
class Answers:
    """What was answered: wrong answers in words, the ids of right ones, how many of each version."""

    clips: int
    known: Known
    wrong: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    versions: Counter[str] = field(default_factory=Counter)
    done: int = 0

    def check(self, number: int, status: int, body: bytes) -> None:
        """A bad clip is answered 400; a good one with its score under the version that the answer names."""
        self.done += 1
        if number % BAD_EVERY == 0:
            if status != 400 or not json.loads(body).get("error"):
                self.wrong.append(f"bad clip {number}: {status} {body[:100]!r}")
            return
        if status != 200:
            self.wrong.append(f"clip {number}: {status} {body[:100]!r}")
            return
        answer = json.loads(body)
        version, score = answer["model_version"], answer["score"]
        self.versions[version] += 1
        self.ids.add(answer["request_id"])
        expected = self.known[version][number % self.clips]
        if not math.isclose(score, expected, rel_tol=TOLERANCE) or answer["request_id"] != f"soak-{number}":
            self.wrong.append(f"clip {number}, version {version}: {score} instead of {expected}")


def soak(model: BenchModel, clips: int) -> bool:
    """Run it and print a verdict; whether everything held."""
    audio = [path.read_bytes() for path in model.clips]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        registry, known = _two_versions(model, root)
        answers = Answers(len(audio), known)
        memory: dict[int, list[int]] = {}
        happened: list[str] = []
        ended = threading.Event()
        with running_server(
            log_folder=root / "spool",
            log_url=str(root / "log"),
            registry=registry,
            poll_seconds=1.0,
        ) as server:
            threads = [
                threading.Thread(target=_watch, args=(server, memory, ended)),
                threading.Thread(target=_events, args=(server, registry, answers, clips, happened, ended)),
            ]
            for thread in threads:
                thread.start()
            load = drive(
                server.url,
                f"/predictions/{MACHINE}",
                lambda number: _form(number, BAD[number // BAD_EVERY % len(BAD)], audio),
                CLIENTS,
                requests=clips,
                seen=answers.check,
                content_type=f"multipart/form-data; boundary={BOUNDARY}",
                retries=RETRIES,
            )
            ended.set()
            for thread in threads:
                thread.join()
        logged = _logged(root)
    growth = _growth(memory)
    missing = answers.ids - set(logged)
    print(
        f"soak: {clips} clips in {load.seconds:.0f} s ({clips / load.seconds:.0f}/s), {dict(load.statuses)} by status"
    )
    print(f"  {', '.join(happened)}; answers by version: {dict(answers.versions)}; sent again: {load.retried}")
    print(f"  wrong answers: {len(answers.wrong)}")
    for line in answers.wrong[:5]:
        print(f"    {line}")
    twice = sum(count - 1 for count in logged.values())
    print(f"  answered clips without a log record: {len(missing)} (records of clips that were sent again: {twice})")
    for pid, (first, share) in growth.items():
        print(f"  worker {pid}: {first / 2**20:.0f} MiB, grew by {share:+.1%} (below {MAX_GROWTH:.0%})")
    held = (
        not answers.wrong
        and not missing
        and len(happened) == 3
        and len(answers.versions) == 2
        and bool(growth)
        and all(share < MAX_GROWTH for _, share in growth.values())
    )
    print(f"soak: {'held' if held else 'DID NOT HOLD'}", flush=True)
    return held


def _two_versions(model: BenchModel, root: Path) -> tuple[Registry, Known]:
    """A registry with two versions that score differently, the first in production, and what each says of each clip."""
    steps.train(model.root / "features", [MACHINE], Settings(), root / "few")
    steps.fit_detectors(model.root / "features", MACHINE, root / "few", Settings(), root / "second")
    registry = Registry.open(root / "registry")
    known: Known = {}
    for bundle in (model.bundle, root / "second"):
        version = registry.register(bundle, metrics={}, reason="soak")
        scorer = load_bundle(registry.fetch(MACHINE, version)).scorer
        known[version] = [result.score for result in scorer.score([scorer.decode(clip) for clip in model.clips])]
    registry.promote(MACHINE, "1", reason="soak")
    return registry, known


def _form(number: int, bad: bytes, audio: list[bytes]) -> bytes:
    clip = bad if number % BAD_EVERY == 0 else audio[number % len(audio)]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request_id"\r\n\r\nsoak-{number}\r\n--{BOUNDARY}\r\n'
    file = 'Content-Disposition: form-data; name="data"; filename="clip"\r\nContent-Type: audio/wav\r\n\r\n'
    return b"".join([head.encode(), file.encode(), clip, f"\r\n--{BOUNDARY}--\r\n".encode()])


def _events(
    server: RunningServer, registry: Registry, answers: Answers, clips: int, happened: list[str], ended: threading.Event
) -> None:
    def upgrade() -> str:
        registry.promote(MACHINE, "2", reason="soak")
        return "upgraded"

    def kill() -> str:
        pid = next(pid for entry in server.management.loaded(MACHINE).values() if entry.default for pid in entry.pids)
        os.kill(pid, signal.SIGKILL)
        return f"killed worker {pid}"

    def roll_back() -> str:
        registry.rollback(MACHINE, reason="soak")
        return "rolled back"

    for share, event in ((UPGRADE, upgrade), (KILL, kill), (ROLLBACK, roll_back)):
        while answers.done < share * clips:
            if ended.wait(0.2):
                return
        happened.append(f"{event()} at clip {answers.done}")


def _watch(server: RunningServer, memory: dict[int, list[int]], ended: threading.Event) -> None:
    while not ended.wait(WATCH_SECONDS):
        try:
            measured = worker_memory(server.management, MACHINE)
        except (MasdError, LookupError, psutil.Error):
            continue  # a worker that has just ended
        for pid, size in measured.items():
            memory.setdefault(pid, []).append(size)


def _growth(memory: dict[int, list[int]]) -> dict[int, tuple[float, float]]:
    """By process id: size after warming up, and its growth until the end; both medians of a tenth of the time."""
    growth = {}
    for pid, measured in memory.items():
        sizes = measured[WARM_UP:]
        if len(sizes) >= LEAST_MEASUREMENTS:
            tenth = len(sizes) // 10
            first, last = statistics.median(sizes[:tenth]), statistics.median(sizes[-tenth:])
            growth[pid] = (first, last / first - 1)
    return growth


def _logged(root: Path) -> Counter[str]:
    """Request ids of all records: shipped, and not yet shipped when the server stopped."""
    ids: Counter[str] = Counter()
    for file in (root / "log").rglob("*.parquet"):
        ids.update(pd.read_parquet(file, columns=["request_id"])["request_id"])
    for file in (root / "spool").iterdir():
        if file.is_file():
            ids.update(json.loads(line)["request_id"] for line in file.read_text(encoding="utf-8").splitlines() if line)
    return ids
