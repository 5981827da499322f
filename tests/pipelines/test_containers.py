"""Steps as containers, as far as that can be seen without a Docker engine; ``tests/containers`` has one."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from masd.config import Settings
from masd.errors import MasdError
from pipelines.local import containers
from pipelines.local.containers import check_engine, run_arguments, run_container
from pipelines.local.run import run_training


class StandInContainer:
    """What docker's client makes of a container; not an engine."""

    def __init__(self, chunks: list[bytes], status: int) -> None:
        self.chunks, self.status, self.calls = chunks, status, list[str]()

    def start(self) -> None:
        self.calls.append("start")

    def logs(self, **options: Any) -> list[bytes]:
        assert options == {"stream": True, "follow": True}
        return self.chunks

    def wait(self) -> dict[str, int]:
        assert "remove" not in self.calls
        self.calls.append("wait")
        return {"StatusCode": self.status}

    def remove(self, *, force: bool) -> None:
        self.calls.append("remove")


def _client(container: StandInContainer) -> Any:
    return SimpleNamespace(containers=SimpleNamespace(create=lambda *arguments, **options: container))


@pytest.mark.parametrize("status", [0, 1, 137])
def test_the_exit_status_is_asked_for_before_the_container_goes(status: int) -> None:
    container = StandInContainer([], status)
    assert run_container(_client(container), "image", ["true"], {}) == status
    assert container.calls == ["start", "wait", "remove"]


def test_lines_of_a_container_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    chunks = [b"[masd] train of f", b"an started\nM\xc3", b"\xbchle\nno end"]
    run_container(_client(StandInContainer(chunks, 0)), "image", ["true"], {})
    assert capsys.readouterr().out == "[masd] train of fan started\nMühle\nno end\n"


def test_a_container_that_does_not_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    container = StandInContainer([], 0)
    monkeypatch.setattr(container, "start", lambda: (_ for _ in ()).throw(RuntimeError("no such user")))
    with pytest.raises(RuntimeError, match="no such user"):
        run_container(_client(container), "image", ["true"], {})
    assert container.calls == ["remove"]


def _arguments(monkeypatch: pytest.MonkeyPatch, runtimes: dict[str, Any], **arguments: str) -> dict[str, Any]:
    engine = SimpleNamespace(info=lambda: {"Runtimes": runtimes}, close=lambda: None)
    monkeypatch.setattr(containers, "_client", lambda: engine)
    return run_arguments(arguments, Path("/out/steps"))


def test_containers_see_the_folders_of_the_run_and_only_the_registry_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = _arguments(monkeypatch, {}, data="/data", registry="/out/registry", log="/log", config="{}")
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in made["mounts"]] == [
        ("/data", "/data", True),
        ("/log", "/log", True),
        ("/out/registry", "/out/registry", False),
    ]
    bucket = _arguments(monkeypatch, {}, data="s3://masd/data", registry="s3://masd/registry")
    assert bucket["mounts"] == []


def test_containers_can_do_little_and_get_few_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "for the bucket")
    monkeypatch.setenv("SOMEBODY_ELSES_TOKEN", "secret")
    made = _arguments(monkeypatch, {}, data="/data", registry="/registry")
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges"]
    assert made["user"] == f"{os.getuid()}:{os.getgid()}"
    assert made["environment"]["AWS_SECRET_ACCESS_KEY"] == "for the bucket"
    assert "SOMEBODY_ELSES_TOKEN" not in made["environment"]


def test_gpus_are_asked_for_where_the_engine_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _arguments(monkeypatch, {"runc": {}})["device_requests"] == []
    (request,) = _arguments(monkeypatch, {"runc": {}, "nvidia": {}})["device_requests"]
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])


def test_without_an_engine_one_line_says_so_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(MasdError, match=r"^no Docker engine answers at unix://.*nobody\.sock: start one"):
        check_engine("masd/pipeline:0")
    for name in ("train/a.wav", "train/b.wav", "train/c.wav", "test/normal/d.wav", "test/anomaly/e.wav"):
        (tmp_path / "data" / "fan" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "fan" / name).write_bytes(b"not looked into")
    with pytest.raises(MasdError, match="no Docker engine answers"):
        run_training(tmp_path / "data", [], Settings(), tmp_path / "out", runner="docker")
    assert not (tmp_path / "out").exists()
