"""Triggers: the same thing twice starts one run, and one whose run failed or was killed can be tried again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from masd.data.data_sets import fingerprint, glance
from masd.errors import MasdError
from masd.files import sha256
from masd.lifecycle import triggers
from masd.lifecycle.triggers import digest, once
from masd.storage.opening import open_store

ABOUT = {"recordings": "abc", "machines": ["fan"]}


def test_twice_is_one_run_with_one_answer(tmp_path: Path) -> None:
    store, runs = open_store(str(tmp_path)), list[int]()

    def work() -> tuple[int, str]:
        runs.append(1)
        return 3, "fan is refused."

    first = once(store, "recordings", ABOUT, work)
    second = once(store, "recordings", dict(reversed(ABOUT.items())), work)
    assert runs == [1] and (first.started, second.started) == (True, False)
    assert second.record == first.record
    assert (second.record.state, second.record.code, second.record.outcome) == ("done", 3, "fan is refused.")
    (file,) = (tmp_path / "triggers").glob("*.json")
    assert file.stem == digest("recordings", ABOUT)
    assert json.loads(file.read_text())["about"] == ABOUT

    assert once(store, "recordings", ABOUT | {"recordings": "new"}, work).started
    assert once(store, "slot", ABOUT, work).started


def test_at_the_same_moment_one_runs_and_the_others_are_told(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def claim(number: int) -> bool:
        return once(store, "slot", ABOUT, lambda: (time.sleep(1.0), (0, "done"))[1]).started

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(claim, range(3))) == [False, False, True]


@pytest.mark.parametrize("error", [MasdError("the disk is full"), KeyboardInterrupt(), SystemExit(143)])
def test_a_failed_run_can_be_tried_again(tmp_path: Path, error: BaseException) -> None:
    store = open_store(str(tmp_path))

    def fails() -> tuple[int, str]:
        raise error

    with pytest.raises(type(error)):
        once(store, "slot", ABOUT, fails)
    (file,) = (tmp_path / "triggers").glob("*.json")
    assert json.loads(file.read_text())["state"] == "failed"
    again = once(store, "slot", ABOUT, lambda: (0, "well"))
    assert again.started and again.record.attempt == 2


HOLDER = """
import sys, time
from masd.storage.opening import open_store
from masd.lifecycle.triggers import once
def work():
    print("working", flush=True)
    time.sleep(600)
once(open_store(sys.argv[1]), "slot", {"a": 1}, work)
"""


def test_a_killed_run_is_known_at_once_on_its_own_machine(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"working\n"
        told = once(store, "slot", {"a": 1}, lambda: (0, "never"))
        assert not told.started and (told.record.state, told.record.pid) == ("running", process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = once(store, "slot", {"a": 1}, lambda: (0, "well"))
    assert again.started and again.record.attempt == 2


def test_a_run_of_another_machine_is_given_time_to_show_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("masd.lifecycle.triggers.socket.gethostname", lambda: "another")
        once(store, "slot", ABOUT, lambda: (0, ""))
    (file,) = (tmp_path / "triggers").glob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"state": "running", "pid": 2**22 + 1}))
    assert not once(store, "slot", ABOUT, lambda: (0, "")).started
    long_ago = time.time() - triggers.PRESUMED_DEAD / timedelta(seconds=1) - 5.0
    os.utime(file, (long_ago, long_ago))
    assert once(store, "slot", ABOUT, lambda: (0, "")).started


def test_a_number_of_another_pid_namespace_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers with one host name: the number of the one's process is nobody's in the other."""
    store = open_store(str(tmp_path))
    running = threading.Event()
    ended = threading.Event()

    def work() -> tuple[int, str]:
        running.set()
        ended.wait(60.0)
        return 0, "well"

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(triggers, "pid_namespace", lambda: "boot pid:[1]")
        elsewhere.setattr(triggers.os, "getpid", lambda: 2**22 + 1)
        thread = threading.Thread(target=once, args=(store, "slot", ABOUT, work))
        thread.start()
        running.wait(60.0)
    assert triggers.pid_namespace()
    told = once(store, "slot", ABOUT, lambda: (0, "never"))
    ended.set()
    thread.join()
    assert not told.started and told.record.state == "running"


def test_old_records_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "MOST", 3)
    store = open_store(str(tmp_path))
    for number in range(6):
        once(store, "slot", {"slot": number}, lambda: (0, ""))
    assert len(list(store.list("triggers/"))) == 3
    assert not once(store, "slot", {"slot": 5}, lambda: (0, "")).started


def test_a_long_run_shows_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "SIGN_OF_LIFE", timedelta(milliseconds=50))
    store, seen = open_store(str(tmp_path)), list[int]()

    def work() -> tuple[int, str]:
        (file,) = (tmp_path / "triggers").glob("*.json")
        first = file.stat().st_mtime_ns
        deadline = time.monotonic() + 20.0
        while file.stat().st_mtime_ns == first and time.monotonic() < deadline:
            time.sleep(0.05)
        seen.append(file.stat().st_mtime_ns - first)
        return 0, ""

    once(store, "slot", ABOUT, work)
    assert seen[0] > 0


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / f"{digest('slot', ABOUT)}.json").write_text("{}")
    with pytest.raises(MasdError, match="unreadable record"):
        once(open_store(str(tmp_path)), "slot", ABOUT, lambda: (0, ""))


def test_a_fingerprint_is_of_the_bytes_not_of_when_they_were_copied(tmp_path: Path) -> None:
    clip = tmp_path / "data" / "fan" / "train" / "a.wav"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"one")
    (tmp_path / "data" / "valve").mkdir()
    (tmp_path / "data" / "valve" / "b.wav").write_bytes(b"other")
    of_fan, of_all = (fingerprint(tmp_path / "data", machines) for machines in (["fan"], []))
    looked = glance(tmp_path / "data")
    os.utime(clip, (0, 0))
    assert fingerprint(tmp_path / "data", ["fan"]) == of_fan
    assert glance(tmp_path / "data") != looked
    (tmp_path / "data" / "valve" / "b.wav").write_bytes(b"new")
    assert fingerprint(tmp_path / "data", ["fan"]) == of_fan
    assert fingerprint(tmp_path / "data") != of_all
    clip.write_bytes(b"two")
    assert fingerprint(tmp_path / "data", ["fan"]) != of_fan
    with pytest.raises(MasdError, match="does not exist or is empty"):
        fingerprint(tmp_path / "nowhere")
    with pytest.raises(
        MasdError, match="nowhere/fan: does not exist or is empty; expected a machine's folder with train"
    ):
        fingerprint(tmp_path / "nowhere", ["fan"])
    assert glance(tmp_path / "nowhere") == ""


def test_a_fingerprint_follows_a_link_to_training_clips(tmp_path: Path) -> None:
    """Test clips beside the link must not be taken for all there is."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.wav").write_bytes(b"one")
    (tmp_path / "data" / "fan" / "test").mkdir(parents=True)
    (tmp_path / "data" / "fan" / "test" / "b.wav").write_bytes(b"two")
    (tmp_path / "data" / "fan" / "train").symlink_to(tmp_path / "disk")
    before = fingerprint(tmp_path / "data", ["fan"])
    (tmp_path / "disk" / "c.wav").write_bytes(b"three")
    assert fingerprint(tmp_path / "data", ["fan"]) != before


def test_a_file_that_cannot_be_read_does_not_stop_a_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fan").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "fan" / name).write_bytes(b"one")
    before = fingerprint(tmp_path, ["fan"])

    def sha256_of_a(path: Path) -> str:
        if path.name == "b.wav":  # a mode of 000 does not keep root out
            raise PermissionError(path)
        return sha256(path)

    monkeypatch.setattr("masd.data.data_sets.sha256", sha256_of_a)
    unreadable = fingerprint(tmp_path, ["fan"])
    assert unreadable == fingerprint(tmp_path, ["fan"]) != before
