"""The agent and the log shipper behind a bucket whose proxy misbehaves: they survive it, say it, and lose nothing."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from clip_score import SCORE
from fake_bundle import write_fake_bundle
from faulty_proxy import FaultyProxy, Mode, faulty_proxy
from played_torchserve import Played
from s3_gateway import S3Gateway

import serving.agent.follower
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from masd.storage.protocol import ObjectStore
from serving.agent.follower import Plant
from serving.agent.model_agent import ModelAgent
from serving.background import Loop, Loops, in_background
from serving.log_shipper import LogShipper
from serving.worker.inference_log import InferenceLog

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(s3_gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    monkeypatch.setattr("masd.storage.s3.RETRIES", 0)
    monkeypatch.setattr("masd.storage.s3.READ_S", 1.0)
    with faulty_proxy(s3_gateway.endpoint) as started:
        monkeypatch.setenv("MASD_S3_ENDPOINT", started.endpoint)
        yield started


def _wait(what: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _shipped(store: ObjectStore) -> Counter[str]:
    return Counter(
        str(row) for item in store.list() for row in pd.read_parquet(BytesIO(store.read(item.key)))["request_id"]
    )


@pytest.mark.parametrize("mode", ["html", "unavailable", "slow", "nothing"])
def test_records_of_the_time_in_which_a_bucket_misbehaves_arrive_once(
    mode: Mode, proxy: FaultyProxy, s3_url: str, tmp_path: Path
) -> None:
    log, store = InferenceLog(tmp_path, "fan"), open_store(s3_url)
    loop = Loop("log", LogShipper(tmp_path, store, rotate_bytes=1).step, 0.1)
    with in_background(loop, Loops(), 5.0):
        log.write([("before", SCORE)])
        _wait(lambda: not list(tmp_path.iterdir()))
        proxy.mode = mode
        log.write([("meanwhile", SCORE)])
        _wait(lambda: loop.problem != "")
        assert "records wait in" in loop.problem
        log.write([("later", SCORE)])
        time.sleep(0.5)
        assert list(tmp_path.iterdir())
        proxy.mode = "through"
        _wait(lambda: not list(tmp_path.iterdir()) and loop.problem == "")
        assert loop.alive
    assert _shipped(store) == {"before": 1, "meanwhile": 1, "later": 1}


@pytest.mark.parametrize("mode", ["html", "unavailable", "nothing"])
def test_a_rollback_after_a_bucket_misbehaved_is_followed(
    mode: Mode, proxy: FaultyProxy, s3_gateway: S3Gateway, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.agent.follower, "deploy", lambda bundle, out, shared: shared)
    registry, loops, played = Registry.open(s3_url), Loops(), Played()
    for _ in range(2):
        version = registry.register(write_fake_bundle(tmp_path / f"{time.time_ns()}"), metrics={})
        registry.promote("fan", version, reason="test")
    agent = ModelAgent(Plant(registry, played, played, tmp_path / "store"), loops, seconds=0.2)
    with in_background(agent.pointers, loops, 3.0):
        agent.begin()
        _wait(lambda: agent.serving == {"fan": "2"})
        proxy.mode = mode
        _wait(lambda: agent.pointers.problem != "")
        assert loops.alive and agent.ready and agent.status()["registry"] != "read"
        with pytest.MonkeyPatch.context() as direct:
            direct.setenv("MASD_S3_ENDPOINT", s3_gateway.endpoint)
            Registry.open(s3_url).rollback("fan", reason="test")
        proxy.mode = "through"
        begin = time.monotonic()
        _wait(lambda: agent.serving == {"fan": "1"})
        assert time.monotonic() - begin < 15
        assert agent.status()["registry"] == "read"
        agent.stop()


@pytest.mark.parametrize("command", ["serve", "agent"])
def test_sigterm_while_a_bucket_says_nothing_ends_it(
    command: str, proxy: FaultyProxy, s3_url: str, tmp_path: Path
) -> None:
    """A handler ends it, and not the signal's default: process 1 of a container has no default."""
    proxy.mode = "nothing"
    store = ["--model-store", str(tmp_path), "--probe-port", "0"] if command == "agent" else ["--port", "0"]
    arguments = [sys.executable, "-m", "masd.cli.main", command, "--registry", s3_url, *store]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        _wait(lambda: proxy.asked > 0 or process.poll() is not None, 60.0)
        begin = time.monotonic()
        process.terminate()
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        assert time.monotonic() - begin < 10
