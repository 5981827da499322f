"""What ``masd serve`` and ``masd agent`` refuse before they start anything, and what they hand on."""

import socket
from pathlib import Path
from typing import Any

import pytest

import serving.agent.sidecar
import serving.server
import serving.torchserve.config
from masd.cli.main import main
from masd.errors import MasdError
from serving.torchserve.config import Addresses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--log", "s3://bucket/log"], "--log s3://bucket/log needs --log-spool DIR"),
        (["--log-spool", "here"], "--log-spool needs --log"),
        (["--log", "ftp://host"], "ftp://host: give a path, file:///folder or s3://bucket/prefix"),
        (["--host", "0.0.0.0"], "--host 0.0.0.0 needs --auth static"),
    ],
)
def test_refused(options: list[str], message: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--bundle", str(tiny_bundle), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_empty_registry_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--registry", str(tmp_path)]) == 1
    assert "no version is in production; promote a version" in capsys.readouterr().err


def test_records_wait_in_the_log_folder_or_where_they_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(serving.server, "serve", lambda bundles, **options: given.update(options))
    monkeypatch.setattr(serving.agent.sidecar, "run_agent", lambda registry, store, **options: given.update(options))
    for log, spool, expected in [
        ("log", None, Path("log/spool")),
        ("file:///var/log/masd", None, Path("/var/log/masd/spool")),
        ("s3://bucket/log", "waiting", Path("waiting")),
    ]:
        options = ["--log", log, *(["--log-spool", spool] if spool else [])]
        assert main(["serve", "--bundle", "bundle", *options]) == 0
        assert (given["log_url"], given["log_folder"]) == (log, expected)
        given.clear()
        assert main(["agent", "--registry", str(tmp_path), "--model-store", "models", *options]) == 0
        assert (given["log_url"], given["log_folder"]) == (log, expected)


def test_grpc_takes_its_usual_port_or_any_where_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(serving.torchserve.config, "GRPC_PORT", port)
        elsewhere = Addresses.claim("127.0.0.1", 0, 0, 0, None).grpc_port
        with pytest.raises(MasdError, match=f"--grpc-port {port} cannot be used"):
            Addresses.claim("127.0.0.1", 0, 0, 0, port)
    assert elsewhere not in (0, port)
    assert Addresses.claim("127.0.0.1", 0, 0, 0, None).grpc_port == port
