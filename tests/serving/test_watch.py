"""What a probe that is not answered leads to, on workers that are real processes and a TorchServe that is played."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from played_torchserve import Played

from serving.background import Loops
from serving.client import ScoringError
from serving.health import watch
from serving.health.watch import Probe, Watch
from serving.torchserve.management import Loaded

SLEEPS, WORKS = "import time; time.sleep(60)", "while True: pass"


class Workers(Played):
    """A machine ``fan`` whose two workers are processes; ``answer`` is what a probe meets."""

    def __init__(self, *sources: str) -> None:
        super().__init__()
        self.processes = [subprocess.Popen([sys.executable, "-c", source]) for source in sources]
        self.error: ScoringError | None = None
        self.ended: list[int] = []

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self.processes)

    def loaded(self, machine: str) -> dict[str, Loaded]:
        return {"1": Loaded("1", True, True, len(self.pids), self.pids)}

    def score(self, machine: str, clip: bytes, request_id: str, version: str = "1") -> dict[str, str]:
        time.sleep(0.5)
        if self.error is not None:
            raise self.error
        return {"model_version": "1"}


@pytest.fixture
def workers() -> Iterator[list[Workers]]:
    started: list[Workers] = []
    yield started
    for group in started:
        for process in group.processes:
            process.kill()
            process.wait()


def _probe(workers: list[Workers], *sources: str, sees: bool = True) -> tuple[Workers, Probe, Watch]:
    group = Workers(*sources)
    workers.append(group)
    time.sleep(0.5)
    end = group.ended.append if sees else None
    looking = Watch(group, group, lambda: {"fan": "1"}, Loops(), end)
    probe = Probe("fan", looking)
    looking._probes["fan"] = probe
    probe.loop.take()
    assert (probe.loop.problem, looking.ready, group.ended) == ("", True, [])
    return group, probe, looking


def test_workers_that_do_nothing_without_an_answer_are_ended_and_busy_ones_are_not(workers: list[Workers]) -> None:
    group, probe, looking = _probe(workers, SLEEPS, WORKS)
    group.error = ScoringError("no answer")
    for _ in range(watch.UNANSWERED_FAILURES):
        assert group.ended == []
        probe.loop.take()
    assert group.ended == [group.pids[0]]
    assert probe.loop.problem == "no answer"
    assert looking.ready, "within a minute"


def test_a_machine_at_work_is_ready_and_left_alone_but_not_for_ever(
    workers: list[Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    group, probe, looking = _probe(workers, WORKS, WORKS)
    group.error = ScoringError("no answer")
    monkeypatch.setattr(watch, "FRESH_SECONDS", 1.0)
    for _ in range(3):
        probe.loop.take()
    assert (group.ended, looking.ready, probe.loop.problem) == ([], True, "")
    monkeypatch.setattr(watch, "BUSY_SECONDS", 1.0)
    for _ in range(watch.UNANSWERED_FAILURES):
        probe.loop.take()
    assert set(group.ended) == set(group.pids) and not looking.ready


def test_errors_in_a_row_end_the_workers_and_a_missing_worker_is_waited_for(workers: list[Workers]) -> None:
    group, probe, _ = _probe(workers, SLEEPS)
    group.error = ScoringError("answered 503", watch.UNAVAILABLE)
    for _ in range(2 * watch.WRONG_FAILURES):
        probe.loop.take()
    assert group.ended == []
    group.error = ScoringError("answered 500", 500)
    for _ in range(watch.WRONG_FAILURES):
        probe.loop.take()
    assert group.ended == list(group.pids)


def test_workers_that_cannot_be_seen_are_replaced_over_the_management_port(
    workers: list[Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    group, probe, _ = _probe(workers, SLEEPS, sees=False)
    monkeypatch.setattr(watch, "UNSEEN_SECONDS", 1.2)
    monkeypatch.setattr(watch, "REPLACE_SECONDS", 0.1)
    asked: list[int] = []
    monkeypatch.setattr(group, "scale", lambda machine, version, number: asked.append(number))
    group.error = ScoringError("no answer")
    probe.loop.take()
    assert asked == []
    for _ in range(2):
        probe.loop.take()
    assert asked == [0, 1]
