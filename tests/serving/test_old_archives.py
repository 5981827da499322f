"""A registry that masd 0.1.0 has made is served by its own archives, replaced by a new version, and rolled back."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from old_registry import scores_of_its_own_code, unpacked

from masd.registry.registry import Registry
from serving.client import ScoringClient
from serving.server import RunningServer, running_server

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Old:
    """A server that was started with what 0.1.0 had in production."""

    registry: Registry
    server: RunningServer
    log: Path
    client: ScoringClient

    def answers_as(self, version: str, clip: bytes, seconds: float = 60.0) -> float:
        """The score, once this version gives it."""
        deadline = time.monotonic() + seconds
        while (answer := self.client.score("fan", clip, request_id=f"as-{version}"))["model_version"] != version:
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)
        return float(answer["score"])


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    folder = tmp_path_factory.mktemp("old")
    registry, log = Registry.open(unpacked(2, folder)), folder / "log"
    options = {"log_folder": folder / "spool", "log_url": str(log), "poll_seconds": 0.5}
    with running_server(registry=registry, **options) as server:
        client = ScoringClient(server.url, 30.0)
        yield Old(registry, server, log, client)
        client.close()


def test_it_is_served_replaced_and_rolled_back(
    old: Old, tiny_bundle: Path, wav: Callable[..., bytes], tmp_path: Path
) -> None:
    assert old.server.models == {"fan": "2"} and old.server.not_served == {}
    clip, archive = wav(seed=3), old.registry.fetch("fan", "2") / "fan.mar"
    before = old.answers_as("2", clip)
    assert [before] == pytest.approx(scores_of_its_own_code(archive, [clip], tmp_path), rel=1e-5)

    version = old.registry.register(tiny_bundle, metrics={})
    old.registry.promote("fan", version, reason="trained again")
    new = old.answers_as("3", clip)
    assert old.registry.rollback("fan", reason="worse") == "2"
    assert old.answers_as("2", clip) == before != new
    assert old.server.health.status()["models"]["fan"] == {"wanted": "2", "serving": "2", "problem": None}


def test_its_records_are_shipped(old: Old, wav: Callable[..., bytes]) -> None:
    """The worker of 0.1.0 writes them, and the shipper of this version takes them away."""
    served = old.registry.channel("fan", "production")
    old.client.score("fan", wav(), request_id="of-an-old-worker")
    shipping = old.server.health.shipping
    assert shipping is not None
    shipping.stop(20.0)  # ships everything at its end
    rows = pd.concat([pd.read_parquet(file) for file in old.log.rglob("*.parquet")])
    assert rows.set_index("request_id").loc["of-an-old-worker", "model_version"] == served
