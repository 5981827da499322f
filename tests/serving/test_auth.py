"""The static token, and a real ``masd serve --auth token``: every door asks, keys are renewed, nothing is left."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from masd.errors import MasdError
from serving.client import ScoringClient, ScoringError
from serving.front.auth import StaticToken
from serving.server import running_server
from serving.torchserve.management import KeyFile, Management, ManagementError

SECRET = "sixteen-or-more-chars"


def test_one_header_matches_and_no_other() -> None:
    token = StaticToken(SECRET)
    assert token.matches(f"Bearer {SECRET}".encode())
    assert token.matches(f"bearer {SECRET}".encode())  # schemes have no case
    for wrong in ("", SECRET, "Bearer", "Bearer ", f"Bearer {SECRET} x", f"Bearer {SECRET.upper()}", f"Basic {SECRET}"):
        assert not token.matches(wrong.encode())
    assert not token.matches(b"Bearer \xff\xfe")
    assert SECRET not in repr(token)


def test_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASD_TOKEN_FILE", raising=False)
    monkeypatch.setenv("MASD_TOKEN", f"{SECRET}\n")
    assert StaticToken.from_environment().matches(f"Bearer {SECRET}".encode())
    file = tmp_path / "token"
    file.write_text("another-secret-token\n", encoding="utf-8")
    monkeypatch.setenv("MASD_TOKEN_FILE", str(file))
    assert StaticToken.from_environment().matches(b"Bearer another-secret-token")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "put the token into MASD_TOKEN"),
        ("short", "at least 16 printable ASCII characters"),
        ("with spaces in between it", "without spaces"),
        ("sixteen-or-more-\u00e4\u00f6\u00fc", "ASCII"),
    ],
)
def test_a_token_that_is_no_secret_is_refused_without_being_shown(
    token: str, message: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASD_TOKEN_FILE", raising=False)
    monkeypatch.setenv("MASD_TOKEN", token)
    with pytest.raises(MasdError, match=message) as error, running_server([tiny_bundle], host="0.0.0.0", auth="static"):
        pass
    assert not token or token not in str(error.value)


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASD_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(MasdError, match=r"MASD_TOKEN_FILE .*missing.* cannot be read: No such file"):
        StaticToken.from_environment()


@dataclass
class Serving:
    process: "subprocess.Popen[str]"
    ready: dict[str, Any]
    management_port: int

    @property
    def keys(self) -> dict[str, Any]:
        return json.loads(Path(self.ready["key_file"]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def serving(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """``masd serve --auth token``, as a user starts it."""
    arguments = ["--auth", "token", "--bundle", str(tiny_bundle)]
    ports = [part for name in ("port", "management-port", "metrics-port", "grpc-port") for part in (f"--{name}", "0")]
    process = subprocess.Popen(
        [sys.executable, "-m", "masd.cli.main", "serve", *arguments, *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("tmp"))},
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        config = Path(ready["key_file"]).with_name("config.properties").read_text(encoding="utf-8")
        (address,) = [line for line in config.splitlines() if line.startswith("management_address=")]
        yield Serving(process, ready, int(address.rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_token_mode_asks_at_every_door(serving: Serving, wav: Callable[..., bytes]) -> None:
    key_file = Path(serving.ready["key_file"])
    assert key_file.stat().st_mode & 0o077 == 0
    keys = serving.keys
    url = httpx.URL(serving.ready["url"])
    (machine,) = serving.ready["models"]
    doors = [
        *((url.port, path) for path in ("/ping", f"/predictions/{machine}", f"/explanations/{machine}", "/v2/models")),
        *((url.port, path) for path in ("/invocations", f"/models/{machine}/invoke", f"/{machine}/predict")),
        *((serving.management_port, path) for path in ("/models", f"/models/{machine}", "/token?type=inference")),
    ]
    for port, path in doors:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            for authorization in (None, "Bearer nonsense", keys["inference"]["key"]):
                assert _ask(port, method, path, authorization) == 400, (method, path)
    inference = f"Bearer {keys['inference']['key']}"
    assert _ask(serving.management_port, "GET", "/models", inference) == 400
    assert _ask(url.port, "GET", "/ping", f"Bearer {keys['management']['key']}") == 400
    with ScoringClient(str(url), token=keys["inference"]["key"], retries=0) as client:
        assert client.score(machine, wav())["machine_type"] == machine
    with ScoringClient(str(url), retries=0) as client, pytest.raises(ScoringError, match="400"):
        client.score(machine, wav())
    with grpc.insecure_channel(serving.ready["grpc"]) as channel:
        ping = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping")
        for metadata in ([], [("authorization", "Bearer nonsense")]):
            with pytest.raises(grpc.RpcError) as refusal:
                ping(b"", metadata=metadata, timeout=10)
            assert refusal.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
        assert ping(b"", metadata=[("authorization", inference)], timeout=10)


@pytest.mark.slow
def test_a_key_that_has_ended_is_renewed_from_the_file(serving: Serving, wav: Callable[..., bytes]) -> None:
    key_file = Path(serving.ready["key_file"])
    keys = serving.keys
    before = keys["inference"]["key"]
    keys["inference"]["expiration time"] = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    key_file.write_text(json.dumps(keys), encoding="utf-8")
    current = KeyFile(key_file, f"http://127.0.0.1:{serving.management_port}")
    (machine,) = serving.ready["models"]
    with ScoringClient(serving.ready["url"], token=current.inference, retries=0) as client:
        assert client.score(machine, wav())["machine_type"] == machine
    assert serving.keys["inference"]["key"] != before
    with pytest.raises(ManagementError, match="no keys"):
        KeyFile(key_file.with_name("nothing"), "http://127.0.0.1:9").management()
    management = Management(f"http://127.0.0.1:{serving.management_port}", current.management)
    assert [entry.ready for entry in management.loaded(machine).values()] == [True]


@pytest.mark.slow
def test_killed_without_a_word_it_leaves_no_process_behind(serving: Serving) -> None:
    """Last: it ends the server."""
    family = psutil.Process(serving.process.pid).children(recursive=True)
    assert "java" in {process.name() for process in family}
    serving.process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while alive := [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def _ask(port: int | None, method: str, path: str, authorization: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={} if authorization is None else {"Authorization": authorization})
        return connection.getresponse().status
    finally:
        connection.close()
