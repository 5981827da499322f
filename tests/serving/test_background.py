"""Loops that survive what their steps raise, say it once, and know when they last went well."""

import threading
import time

import pytest

from masd.errors import MasdError
from serving.background import Loop, Loops, in_background


def test_a_loop_survives_every_exception_and_says_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    raised = [SyntaxError("no XML"), MemoryError(), MasdError("no bucket"), MasdError("no bucket"), None]
    taken: list[float] = []

    def step() -> None:
        taken.append(time.time())
        error = raised[len(taken) - 1] if len(taken) <= len(raised) else None
        if error is not None:
            raise error

    loops, loop = Loops(), Loop("shipper", step, 0.01)
    begin = time.time()
    with in_background(loop, loops, 5.0):
        while len(taken) < 7:
            time.sleep(0.01)
        assert loops.alive and loop.problem == ""
        status = loops.status()["shipper"]
        assert status["alive"] and begin <= status["last_success"] <= time.time()
    assert capsys.readouterr().err.splitlines() == [
        "masd: shipper: SyntaxError: no XML",
        "masd: shipper: MemoryError: ",
        "masd: shipper: no bucket",
        "masd: shipper: works again",
    ]
    assert not loops.alive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_a_thread_all_the_same_is_seen() -> None:
    loops = Loops()
    loop = loops.start(Loop("one", lambda: (_ for _ in ()).throw(SystemExit), 0.01))
    deadline = time.monotonic() + 10
    while loop.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not loops.alive and loops.status()["one"]["last_success"] is None


def test_a_wake_during_a_step_is_not_lost_and_the_last_step_is_taken_at_the_end() -> None:
    begun, go, taken = threading.Event(), threading.Event(), []

    def step() -> None:
        taken.append("step")
        begun.set()
        go.wait(5)

    with in_background(Loop("one", step, 60.0, last=lambda: taken.append("last")), Loops(), 5.0) as loop:
        begun.wait(5)
        loop.wake()
        go.set()
        deadline = time.monotonic() + 5
        while len(taken) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert taken == ["step", "step", "last"]
