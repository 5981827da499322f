"""Schedules for one machine: slots, the loop and its SIGTERM, new recordings. Trainers here are fakes, named so."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from masd.errors import MasdError
from pipelines import schedule
from pipelines.schedule import Cron, Every, seconds

STUBS = Path(__file__).parent / "stubs"
MOMENT = datetime(2026, 3, 1, 10, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("*/30 * * * *", ["10:30:00", "11:00:00"]),
        ("0 4 * * 1", ["04:00:00", "04:00:00"]),
    ],
)
def test_cron(text: str, slots: list[str]) -> None:
    first = Cron(text).next_after(MOMENT)
    assert [f"{slot:%H:%M:%S}" for slot in (first, Cron(text).next_after(first))] == slots
    assert first.tzinfo is UTC


def test_every_has_the_same_slots_for_everybody() -> None:
    slots = {Every("30m").next_after(MOMENT + timedelta(minutes=minute)) for minute in range(22)}
    assert slots == {datetime(2026, 3, 1, 10, 30, tzinfo=UTC)}
    assert Every("30m").next_after(datetime(2026, 3, 1, 10, 30, tzinfo=UTC)) == datetime(2026, 3, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("1d", 86400)])
def test_lengths_of_time(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0m", "soon", "-5m", "1.5h", "5"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(MasdError, match="is not a duration"):
        seconds(text)


@pytest.mark.parametrize("text", ["* * * * * *", "61 * * * *", "0 0 31 2 *", "hourly"])
def test_no_cron_expressions(text: str) -> None:
    with pytest.raises(MasdError, match=r"cron expression .* expected minute hour day month weekday"):
        Cron(text)


def _terminate_when(condition: threading.Event) -> threading.Thread:
    def wait() -> None:
        condition.wait(60.0)
        time.sleep(0.3)  # a signal between two instructions does not wake a sleep that begins after it
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_loop_goes_on_after_a_failed_run_until_sigterm() -> None:
    """A fake trainer in a fast schedule."""
    slots, said, enough = list[datetime](), list[str](), threading.Event()

    def run(slot: datetime) -> None:
        slots.append(slot)
        if len(slots) == 1:
            raise MasdError("the disk is full;\n make room")
        enough.set()

    before = signal.getsignal(signal.SIGTERM)
    thread = _terminate_when(enough)
    schedule.keep(Every("1s"), run, said.append)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(slots) >= 2 and len(set(slots)) == len(slots)
    assert "masd: the disk is full; make room" in said and said[-1] == "schedule stopped"


def test_sigterm_in_the_middle_of_a_run_ends_the_run() -> None:
    began, ended = threading.Event(), list[str]()

    def run(slot: datetime) -> None:
        began.set()
        try:
            time.sleep(60.0)
        finally:
            ended.append("cleaned up")

    thread = _terminate_when(began)
    start = time.monotonic()
    schedule.keep(Every("1s"), run, lambda line: None)
    thread.join()
    assert ended == ["cleaned up"] and time.monotonic() - start < 30.0


def test_watching_waits_until_copying_has_ended() -> None:
    looks = iter(["", "a", "ab", "abc", "abc", "abc", "abcd", "abcd", "abcd"])
    runs, enough, now = list[str](), threading.Event(), [""]

    def look() -> str:
        now[0] = next(looks, "abcd")
        if len(runs) == 2:
            enough.set()
        return now[0]

    thread = _terminate_when(enough)
    schedule.watch(look, lambda: runs.append(now[0]), lambda line: None, every_s=0.01)
    thread.join()
    assert runs == ["abc", "abcd"]


def test_a_watched_run_that_fails_is_tried_again_whatever_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "FIRST_RETRY_S", 0.05)
    looks: list[Exception | str] = [OSError(5, "Input/output error"), "a", "a"]
    failures: list[Exception] = [MasdError("the bucket is away"), OSError(28, "No space left on device")]
    runs, said, enough = list[float](), list[str](), threading.Event()

    def look() -> str:
        seen = looks.pop(0) if looks else "a"
        if isinstance(seen, Exception):
            raise seen
        return seen

    def run() -> None:
        runs.append(time.monotonic())
        if failures:
            raise failures.pop(0)
        threading.Timer(0.3, enough.set).start()

    thread = _terminate_when(enough)
    schedule.watch(look, run, said.append, every_s=0.01)
    thread.join()
    assert len(runs) == 3 and runs[1] - runs[0] >= 0.05 and runs[2] - runs[1] >= 0.1
    assert [line for line in said if "tried again" in line] == [
        "the run is tried again in 0.05 s",
        "the run is tried again in 0.1 s",
    ]
    assert any("Input/output error" in line for line in said) and any("No space left" in line for line in said)


def _schedule(tmp_path: Path, *when: str) -> list[str]:
    places = (
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--registry",
        str(tmp_path / "registry"),
    )
    return [sys.executable, "-m", "masd.cli.main", "pipeline", "schedule", "training", *places, *when]


@pytest.mark.slow
def test_a_watched_folder_starts_a_run_and_two_watchers_start_one(tmp_path: Path) -> None:
    """Two real processes, kfp.local for real, steps that only leave traces (see stubs)."""
    for name in ("train/a.wav", "train/b.wav", "train/c.wav", "test/normal/d.wav", "test/anomaly/e.wav"):
        (tmp_path / "data" / "fan" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "fan" / name).write_bytes(b"not heard by the stubs")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(STUBS), str(Path.cwd())])}
    code = (
        "import sys; from masd.cli.main import main; from pipelines import schedule;"
        "schedule.watch.__defaults__ = (0.5,); sys.exit(main(sys.argv[1:]))"
    )
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "env": environment}
    commands = [[sys.executable, "-c", code, *_schedule(tmp_path, "--watch")[3:]] for _ in range(2)]
    commands[1][commands[1].index("--out") + 1] = str(tmp_path / "out2")
    watchers = [subprocess.Popen(command, **out) for command in commands]  # type: ignore[call-overload]
    try:
        said = [watcher.stdout.readline() for watcher in watchers]
        assert sorted(line.startswith("nothing was started: ") for line in said) == [False, True], said
    finally:
        for watcher in watchers:
            watcher.send_signal(signal.SIGTERM)
        codes = [watcher.wait(timeout=60) for watcher in watchers]
    assert codes == [0, 0]
    assert [path.name for path in (tmp_path / "registry" / "models" / "fan").iterdir()] == ["1"]
    assert len(list((tmp_path / "registry" / "triggers").glob("*.json"))) == 1
