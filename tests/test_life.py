"""The whole life of a model on a real S3 server and a real TorchServe, under load from the first to the last moment."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY_OVERRIDES

from masd.cli.main import main
from masd.data.simulation import simulate
from masd.registry.registry import Registry
from masd.storage.opening import open_store
from serving.client import ScoringClient
from serving.log_shipper import LogShipper
from serving.server import running_server

pytestmark = pytest.mark.slow

MACHINE = "gearbox"
SETTINGS = ["--set", *TINY_OVERRIDES, "gate.bootstrap_samples=200", "gate.control_margin=0.2"]


class Load:
    """Callers that never pause: what was answered as which version, and what failed."""

    def __init__(self, url: str, clips: list[bytes]) -> None:
        self._client = ScoringClient(url, retries=0)  # one failed answer is a failed answer
        self._stop = threading.Event()
        self.clips = clips
        self.versions: list[str] = []
        self.failures: list[str] = []

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                answer = self._client.score(MACHINE, self.clips[number % len(self.clips)])
                self.versions.append(answer["model_version"])
            except Exception as error:
                self.failures.append(repr(error))
            number += 1
            time.sleep(0.1)

    @contextmanager
    def __call__(self) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for(self, version: str, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while self.versions[-1:] != [version]:
            assert time.monotonic() < deadline, f"still {self.versions[-1:]}, not {version}; {self.failures[:3]}"
            time.sleep(0.2)


def _upload(folder: Path, url: str, *, target: bool) -> None:
    store = open_store(url)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if target or "_target_" not in path.name:
            store.upload(path, path.relative_to(folder).as_posix())


def _clips(folder: Path, pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / MACHINE / "test").glob(pattern))]


def test_from_the_first_training_to_a_rollback(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, log = f"{s3_url}/registry", f"{s3_url}/log"
    simulate(tmp_path / "plant", [MACHINE], train=60, test=40, seconds=3.0, seed=3)
    simulate(tmp_path / "live", [MACHINE], train=8, test=240, seconds=3.0, seed=4)
    _upload(tmp_path / "plant", f"{s3_url}/spring", target=False)
    _upload(tmp_path / "plant", f"{s3_url}/autumn", target=True)
    monkeypatch.setattr("serving.server.LogShipper", partial(LogShipper, rotate_seconds=2.0))

    # trained on the usual condition only, registered and promoted by the gate
    first = ["pipeline", "run", "--data", f"{s3_url}/spring", "--registry", registry, "--out", str(tmp_path / "first")]
    assert main([*first, *SETTINGS]) == 0, capsys.readouterr()
    models = Registry.open(registry)
    assert models.channel(MACHINE, "production") == "1"

    server = running_server(
        registry=models,
        poll_seconds=0.5,
        log_folder=tmp_path / "spool",
        log_url=log,
    )
    with server as running, Load(running.url, _clips(tmp_path / "live", "*source*normal*"))() as load:
        load.wait_for("1")
        # the plant changes: from now on it is heard in the target condition, never heard in training
        load.clips = _clips(tmp_path / "live", "*target*normal*")
        _wait_until_shipped(log, len(load.versions) + 300)

        # detected, retrained on recordings of both conditions, better than the champion on the same clips, promoted
        again = ["pipeline", "monitor", "--data", f"{s3_url}/autumn", "--registry", registry, "--log", log]
        out = tmp_path / "second"
        assert main([*again, "--out", str(out), *SETTINGS]) == 0, capsys.readouterr()
        said = capsys.readouterr().out
        assert f"{MACHINE}: drift in" in said
        assert models.channel(MACHINE, "production") == "2"
        _assert_better(out)
        load.wait_for("2")

        assert (
            main(["registry", "rollback", MACHINE, "--registry", registry, "--reason", "a test of the way back"]) == 0
        )
        load.wait_for("1")
    assert load.failures == []
    assert set(load.versions) == {"1", "2"}

    events = [(record["event"], record["version"]) for record in models.audit(MACHINE)]
    assert events == [("register", "1"), ("promote", "1"), ("register", "2"), ("promote", "2"), ("rollback", "1")]
    assert all(record["actor"] and record["time"] and record["reason"] for record in models.audit(MACHINE))
    assert main(["registry", "verify", "--registry", registry]) == 0


def _wait_until_shipped(log: str, rows: int, seconds: float = 120.0) -> None:
    store, deadline = open_store(log), time.monotonic() + seconds
    while (there := sum(len(pd.read_parquet(BytesIO(store.read(item.key)))) for item in store.list())) < rows:
        assert time.monotonic() < deadline, f"{there} records of {rows} have come to the bucket"
        time.sleep(0.5)


def _assert_better(out: Path) -> None:
    verdict = json.loads((out / MACHINE / "verdict.json").read_text(encoding="utf-8"))
    (check,) = [check for check in verdict["checks"] if check["name"] == "version 1 in production"]
    assert verdict["decision"] == "promote"
    assert check["candidate"] > check["reference"] + 0.02
