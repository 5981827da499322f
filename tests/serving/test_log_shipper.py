"""Shipping the inference log: every record arrives once, whatever is killed and however long the store is away."""

import errno
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from clip_score import SCORE
from s3_gateway import running_gateway

from masd.drift.log import read_log
from masd.errors import MasdError
from masd.storage.folder import FolderStore
from masd.storage.opening import open_store
from masd.storage.protocol import StoreError
from serving.background import Loops
from serving.health.status import Health
from serving.log_shipper import LogShipper, check_writable
from serving.spool import UNSHIPPED
from serving.worker.inference_log import InferenceLog


class AwayStore(FolderStore):
    """A folder that answers like an unreachable bucket while ``away``."""

    away = True

    def write(self, key: str, content: bytes) -> None:
        if self.away:
            raise StoreError("the bucket cannot be reached")
        super().write(key, content)


def _shipped(store: Path) -> Counter[str]:
    return Counter(row for file in store.rglob("*.parquet") for row in pd.read_parquet(file)["request_id"].astype(str))


def test_folders_are_tried_before_a_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, log = tmp_path / "spool", tmp_path / "log"
    check_writable(spool, "s3://bucket/log")  # which may be away for a while
    check_writable(spool, log.as_uri())
    assert spool.is_dir() and log.is_dir() and not list(log.iterdir())

    def refuse(dir: Path) -> None:
        if dir == log:  # of root, on a volume that ignores fsGroup
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        tempfile.mkdtemp(dir=dir)

    monkeypatch.setattr("serving.log_shipper.tempfile.TemporaryFile", lambda dir: nullcontext(refuse(dir)))
    with pytest.raises(
        MasdError, match=rf"{log} cannot be written: Permission denied; give user {os.geteuid()} write access"
    ):
        check_writable(spool, str(log))


def test_status_says_why_records_only_wait(tmp_path: Path) -> None:
    store = AwayStore(tmp_path / "store")
    health = Health(Loops(), started=True)
    assert health.status() == {"ready": True, "loops": {}}
    health.shipping = LogShipper(tmp_path / "spool", store, rotate_bytes=1).loop()
    InferenceLog(tmp_path / "spool", "fan").write([("a", SCORE)])
    health.shipping.take()
    status = health.status()
    assert status["ready"] and "cannot be reached; records wait in" in status["log_problem"]
    store.away = False
    health.shipping.take()
    assert health.status() == {"ready": True, "loops": {}, "log_problem": ""}


def test_one_folder_holds_what_was_shipped_and_what_waits(tmp_path: Path) -> None:
    log = InferenceLog(tmp_path / "spool", "fan")
    shipper = LogShipper(tmp_path / "spool", FolderStore(tmp_path))
    log.write([("a", SCORE), (None, SCORE)])
    shipper.step()
    assert not list(tmp_path.rglob("*.parquet"))  # neither large nor old
    shipper.step(everything=True)
    (file,) = tmp_path.rglob("*.parquet")
    day, name = file.relative_to(tmp_path / "fan").parts
    assert name.startswith(f"fan-{day.replace('-', '')}T")
    frame = pd.read_parquet(file)
    assert {**frame.iloc[0].to_dict(), "time": None} == {"time": None, "request_id": "a", **SCORE.to_record()}
    assert frame["request_id"].isna().tolist() == [False, True]

    log.write([("b", SCORE)])
    rows = read_log(tmp_path, "fan", "3", ["score", "margin"]).rows
    assert rows["score"].tolist() == [0.5, 0.5, 0.5]


def test_rotates_by_size_by_age_and_what_was_left_behind(tmp_path: Path) -> None:
    spool, store = tmp_path / "spool", tmp_path / "store"
    log = InferenceLog(spool, "my-fan")
    log.write([("left behind", SCORE)])
    LogShipper(spool, FolderStore(store)).step()
    assert _shipped(store) == {"left behind": 1}

    by_size = LogShipper(spool, FolderStore(store), rotate_bytes=1000)
    log.write([("small", SCORE)])
    by_size.step()
    assert "small" not in _shipped(store)
    log.write([("a", SCORE), ("b", SCORE)])
    by_size.step()
    assert _shipped(store).keys() == {"left behind", "small", "a", "b"}

    by_age = LogShipper(spool, FolderStore(store), rotate_seconds=0.2)
    log.write([("old", SCORE)])
    by_age.step()
    assert "old" not in _shipped(store)
    time.sleep(0.3)
    by_age.step()
    assert _shipped(store)["old"] == 1
    assert not list(spool.iterdir())
    assert [path.name for path in store.iterdir()] == ["my-fan"]


def test_a_store_that_is_away_loses_nothing_and_is_told_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, store = InferenceLog(tmp_path / "spool", "fan"), AwayStore(tmp_path / "store")
    shipping = LogShipper(tmp_path / "spool", store, rotate_bytes=1).loop()
    for number in range(5):
        log.write([(str(number), SCORE)])
        shipping.take()
    assert len(list((tmp_path / "spool").glob("*.sealed"))) == 5
    store.away = False
    shipping.take()
    shipping.take()
    assert _shipped(tmp_path / "store") == {str(number): 1 for number in range(5)}
    away, back = capsys.readouterr().err.splitlines()
    assert "the bucket cannot be reached; records wait in" in away
    assert back == "masd: inference log: works again"


def test_a_torn_line_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = InferenceLog(tmp_path / "spool", "fan")
    log.write([("a", SCORE)])
    with log.path.open("a") as file:
        file.write('{"time": "20')
    LogShipper(tmp_path / "spool", FolderStore(tmp_path / "store")).step()
    assert _shipped(tmp_path / "store") == {"a": 1}
    assert "1 line is not a valid record and is kept in" in capsys.readouterr().err
    (kept,) = (tmp_path / "spool").glob("*.unshipped")
    assert kept.read_text() == '{"time": "20\n'


def test_what_is_no_record_is_kept_and_costs_no_other_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = InferenceLog(tmp_path, "fan")
    log.write([("a", SCORE)])
    with log.path.open("a") as file:
        file.write(log.path.read_text().replace('"score": 0.5', '"score": "high"') + '"\\ud800"\n')
    (tmp_path / "fan-2.jsonl").write_text('{"score": 1}\n')
    (tmp_path / "other.jsonl").write_text("not ours\n")
    LogShipper(tmp_path, FolderStore(tmp_path / "store")).step(everything=True)
    assert _shipped(tmp_path / "store") == {"a": 1}
    assert sorted(len(kept.read_text().splitlines()) for kept in tmp_path.glob("*.unshipped")) == [1, 2]
    assert capsys.readouterr().err.count("kept in") == 2
    assert (tmp_path / "other.jsonl").exists()


def test_no_line_is_lost_to_a_rename_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """Sealing as fast as it goes, while two workers write."""
    done = threading.Event()

    def work(name: str) -> None:
        log = InferenceLog(tmp_path / "spool", name)
        for number in range(1000):
            log.write([(f"{name} {number}", SCORE)])

    workers = [threading.Thread(target=work, args=(name,)) for name in ("fan", "pump")]
    shipper = LogShipper(tmp_path / "spool", FolderStore(tmp_path / "store"), rotate_bytes=1)
    (tmp_path / "spool").mkdir()

    def ship() -> None:
        while not done.is_set():
            shipper.step()

    shipping = threading.Thread(target=ship)
    for thread in (*workers, shipping):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    shipping.join()
    shipper.step(everything=True)
    expected = {f"{name} {number}" for name in ("fan", "pump") for number in range(1000)}
    shipped = _shipped(tmp_path / "store")
    assert shipped.keys() == expected
    assert set(shipped.values()) == {1}


KILLED = """
import json, os, pathlib, random, signal, sys, time
from serving.worker.inference_log import InferenceLog
from serving.log_shipper import LogShipper
from masd.storage.opening import open_store
from test_log_shipper import SCORE

folder, url, rounds = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
answered = os.open(folder / "answered", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
(folder / "spool").mkdir(parents=True, exist_ok=True)

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid

def write(name):
    log, number = InferenceLog(folder / "spool", "fan"), 0
    while True:
        log.write([(f"{name}-{number}", SCORE), (f"{name}-{number}b", SCORE)])
        os.write(answered, f"{name}-{number}\\n{name}-{number}b\\n".encode())
        number += 1
        time.sleep(0.001)

def ship():
    shipping = LogShipper(folder / "spool", open_store(url), rotate_bytes=1).loop()
    while True:
        shipping.take()

random.seed(1)
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
for number in range(rounds):
    if asked:
        break
    writer, shipper = child(lambda: write(f"w{number}")), child(ship)
    time.sleep(random.uniform(0.05, 0.4))
    for pid in random.sample([writer, shipper], 2):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


def _killing(folder: Path, url: str, rounds: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **environment, "PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", KILLED, str(folder), url, str(rounds)], env=environment)


def _assert_half_lines_only(spool: Path) -> None:
    """A kill in the middle of a write leaves half a line, of a clip that was not answered: it is set aside."""
    for path in spool.iterdir():
        assert path.suffix == UNSHIPPED, path
        for line in path.read_bytes().splitlines():
            with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
                json.loads(line)


@pytest.mark.slow
def test_workers_and_shippers_killed_at_any_moment_lose_and_double_no_answered_clip(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert _killing(tmp_path, str(store), 25, {}).wait() == 0
    LogShipper(tmp_path / "spool", FolderStore(store)).step(everything=True)
    answered = (tmp_path / "answered").read_text(encoding="utf-8").split()
    shipped = _shipped(store)
    assert len(answered) > 100
    assert not set(answered) - shipped.keys()
    assert set(shipped.values()) == {1}
    _assert_half_lines_only(tmp_path / "spool")


@pytest.mark.slow
def test_a_bucket_killed_under_it_loses_and_doubles_none_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The S3 server is killed a dozen times while workers and shippers are: what it acknowledged it must have."""
    rng = random.Random(2)
    with running_gateway(tmp_path / "s3") as gateway:
        for name, value in gateway.environment.items():
            monkeypatch.setenv(name, value)
        url = f"{gateway.make_bucket('log')}/plant"
        killing = _killing(tmp_path, url, 10_000, gateway.environment)
        try:
            begun = time.monotonic()
            while not (tmp_path / "answered").exists():
                assert killing.poll() is None and time.monotonic() - begun < 60
                time.sleep(0.1)
            for _ in range(12):
                time.sleep(rng.uniform(0.1, 0.6))
                gateway.kill()
                time.sleep(rng.uniform(0.0, 0.3))
                gateway.start()
                assert killing.poll() is None
        finally:
            killing.terminate()
            killing.wait()
        store = open_store(url)
        LogShipper(tmp_path / "spool", store).step(everything=True)
        shipped = Counter(
            str(row) for item in store.list() for row in pd.read_parquet(io.BytesIO(store.read(item.key)))["request_id"]
        )
    answered = (tmp_path / "answered").read_text(encoding="utf-8").split()
    assert len(answered) > 100
    assert not set(answered) - shipped.keys()
    assert set(shipped.values()) == {1}
    _assert_half_lines_only(tmp_path / "spool")
