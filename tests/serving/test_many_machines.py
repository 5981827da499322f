"""Twenty machines in one server, whose workers are threads of a few processes: none touches another."""

import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bench.fleet import damaged, renamed
from bench.server import hanging_engine
from masd.bundle.bundle import load_bundle
from masd.registry.registry import Registry
from serving.archive import archive
from serving.client import ScoringClient, ScoringError
from serving.server import RunningServer, running_server
from serving.torchserve.config import cores, share_of_workers

pytestmark = pytest.mark.slow

GOOD = [f"machine-{number:02}" for number in range(18)]
DAMAGED, ALONE = "damaged", "own-code"
SHIFT = 0.5
"""Between two machines: each scores otherwise, so an answer of another one is noticed."""


@dataclass
class Fleet:
    """A registry, the server that follows it, and what each version is."""

    registry: Registry
    server: RunningServer
    bundles: dict[tuple[str, str], Path]

    def expected(self, machine: str, version: str, clips: list[bytes]) -> list[float]:
        """As ``masd score``."""
        scorer = load_bundle(self.bundles[machine, version]).scorer
        return [scorer.score([scorer.decode(clip)])[0].score for clip in clips]

    def machine(self, name: str) -> dict[str, Any]:
        return self.server.health.status()["models"][name]

    def wait(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.server.health.status()
            time.sleep(0.1)


def own_code(folder: Path, version: str) -> None:
    """An archive with a handler that somebody has changed."""
    mar = archive(folder, folder / f"{ALONE}.mar")
    with zipfile.ZipFile(mar) as content:
        entries = {name: content.read(name) for name in content.namelist()}
    entries["handler.py"] += b"\n# changed\n"
    with zipfile.ZipFile(mar, "w") as content:
        for name, entry in entries.items():
            content.writestr(name, entry)


@pytest.fixture(scope="module")
def fleet(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    registry, bundles = Registry.open(folder / "registry"), {}
    for number, machine in enumerate([*GOOD, DAMAGED, ALONE]):
        bundle = bundles[machine, "1"] = renamed(tiny_bundle, machine, folder / machine, shift=SHIFT * number)
        if machine == DAMAGED:
            damaged(bundle)
        version = registry.register(bundle, metrics={}, build=own_code if machine == ALONE else None)
        registry.promote(machine, version, reason="first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.torchserve.shared.pool.COMMAND", (sys.executable, hanging_engine.__file__))
        patch.setenv(hanging_engine.VARIABLE, f"{GOOD[3]} 2")
        with running_server(registry=registry, poll_seconds=0.5) as server:
            yield Fleet(registry, server, bundles)


def test_all_are_served_by_as_many_processes_as_cores_but_what_has_code_of_its_own(fleet: Fleet) -> None:
    assert fleet.server.models == dict.fromkeys([*GOOD, ALONE], "1")
    assert "do not belong together" in fleet.server.not_served[DAMAGED]
    count = share_of_workers(len(GOOD) + 2)
    fleet.wait(lambda: all(len(_pids(fleet, machine)) == count for machine in GOOD))
    shared = {pid for machine in GOOD for pid in _pids(fleet, machine)}
    assert len(shared) == cores()
    assert all(len(set(_pids(fleet, machine))) == count for machine in GOOD), "each in two of them"
    assert not shared & set(_pids(fleet, ALONE))
    children = psutil.Process().children(recursive=True)
    waiting = [child for child in children if child.name() in ("sh", "dash") and "read word" in child.cmdline()[-1]]
    assert len(waiting) >= count * len(GOOD)
    assert max(child.memory_info().rss for child in waiting) < 4e6


def test_mixed_requests_get_the_scores_of_their_own_machine(fleet: Fleet, wav: Callable[..., bytes]) -> None:
    clips = [wav(seconds=2.0, seed=seed) for seed in range(2)]
    machines = [*GOOD, ALONE]
    expected = {machine: fleet.expected(machine, "1", clips) for machine in machines}
    assert len({round(scores[0], 4) for scores in expected.values()}) > len(machines) // 2
    with ScoringClient(fleet.server.url, retries=0) as client, ThreadPoolExecutor(16) as pool:
        asked = [(machine, number) for number in (0, 1, 0, 1) for machine in machines]
        answers = pool.map(lambda one: client.score(one[0], clips[one[1]]), asked)
        for (machine, number), answer in zip(asked, answers, strict=True):
            assert (answer["machine_type"], answer["model_version"]) == (machine, "1")
            assert answer["score"] == pytest.approx(expected[machine][number], abs=1e-5)
        with pytest.raises(ScoringError, match=r"404|503"):
            client.score(DAMAGED, clips[0])
        with pytest.raises(ScoringError, match="404"):
            client.score("nobody", clips[0])


def test_one_is_promoted_and_rolled_back_while_another_hangs_and_all_are_answered(
    fleet: Fleet, tiny_bundle: Path, wav: Callable[..., bytes], tmp_path: Path
) -> None:
    clip = wav(seconds=2.0)
    for machine in (GOOD[3], GOOD[5]):
        bundle = fleet.bundles[machine, "2"] = renamed(tiny_bundle, machine, tmp_path / machine, shift=40.0)
        assert fleet.registry.register(bundle, metrics={}) == "2"
    fleet.registry.promote(GOOD[3], "2", reason="it hangs while it loads")
    fleet.wait(lambda: fleet.machine(GOOD[3])["wanted"] == "2")
    with ScoringClient(fleet.server.url, retries=0) as client:
        fleet.registry.promote(GOOD[5], "2", reason="better")
        fleet.wait(lambda: fleet.machine(GOOD[5])["serving"] == "2")
        answer = client.score(GOOD[5], clip)
        assert answer["model_version"] == "2"
        assert answer["score"] == pytest.approx(fleet.expected(GOOD[5], "2", [clip])[0], abs=1e-5)
        fleet.registry.rollback(GOOD[5], reason="worse after all")
        begin = time.monotonic()
        fleet.wait(lambda: fleet.machine(GOOD[5])["serving"] == "1")
        assert time.monotonic() - begin < 10
        for machine in GOOD:
            answer = client.score(machine, clip)
            assert answer["model_version"] == "1", machine
    assert fleet.machine(GOOD[3])["serving"] == "1"
    fleet.registry.rollback(GOOD[3], reason="it does not load")
    fleet.wait(lambda: fleet.machine(GOOD[3])["wanted"] == "1")
    assert fleet.server.health.status()["ready"]


def test_metrics_and_words_are_each_machines_own(fleet: Fleet, wav: Callable[..., bytes]) -> None:
    with ScoringClient(fleet.server.url, retries=0) as client:
        for machine in GOOD[:2]:
            client.score(machine, wav(seconds=2.0))
        with pytest.raises(ScoringError, match="400"):
            client.score(GOOD[1], b"no audio")
    time.sleep(0.5)  # TorchServe reads what a worker counted from its output
    text = httpx.get(f"{fleet.server.metrics_url}/metrics", trust_env=False).text
    rejected = [line for line in text.splitlines() if line.startswith("masd_rejects_total{")]
    assert [line for line in rejected if f'ModelName="{GOOD[1]}"' in line]
    assert not [line for line in rejected if f'ModelName="{GOOD[0]}"' in line]
    for machine in GOOD[:2]:
        assert f'ModelName="{machine}",Level="Model"' in text


@pytest.mark.skipif(cores() < 2, reason="with one core there is one process")
def test_one_process_ends_and_the_machines_go_on_in_the_others(fleet: Fleet, wav: Callable[..., bytes]) -> None:
    clip, victim = wav(seconds=2.0), _pids(fleet, GOOD[0])[0]
    os.kill(victim, signal.SIGKILL)
    with ScoringClient(fleet.server.url) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda machine: client.score(machine, clip), GOOD * 2))
    assert [answer["machine_type"] for answer in answers] == GOOD * 2
    count = share_of_workers(len(GOOD) + 2)
    fleet.wait(lambda: all(len(set(_pids(fleet, machine))) == count for machine in GOOD), 180.0)
    assert victim not in {pid for machine in GOOD for pid in _pids(fleet, machine)}
    fleet.wait(lambda: fleet.server.health.status()["ready"])


def _pids(fleet: Fleet, machine: str) -> tuple[int, ...]:
    return next(entry.pids for entry in fleet.server.management.loaded(machine).values() if entry.default)
