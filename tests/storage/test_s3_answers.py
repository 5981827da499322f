"""A bucket that is not there, is somewhere else or is no bucket: one right line, within 15 seconds."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3_gateway import S3Gateway

from masd.storage.opening import open_store
from masd.storage.protocol import StoreError

MOST_SECONDS = 15.0
PAGE = b"<html><body>Please log in to the proxy<br></body></html>"


class _Answers(BaseHTTPRequestHandler):
    """``/status/bucket...`` is answered with that status and a page."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.status >= 300:
            self.send_header("Location", f"http://127.0.0.1:1{self.path}")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Answers]]:
    class Answers(_Answers):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        _environment(monkeypatch, f"http://127.0.0.1:{running.server_port}")
        yield Answers
        running.shutdown()


def _environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("MASD_S3_ENDPOINT", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_endpoint_that_redirects_is_said_to(server: type[_Answers], status: int) -> None:
    server.status = status
    store = open_store("s3://bucket/x")
    with pytest.raises(StoreError, match=rf"redirects to another address \(HTTP {status}\); set MASD_S3_ENDPOINT"):
        list(store.list())
    with pytest.raises(StoreError, match="redirects to another address"):
        store.read("a")
    with pytest.raises(StoreError, match="redirects to another address"):
        store.write("a", b"1")


@pytest.mark.parametrize("what", ["list", "read", "download", "write", "upload"])
def test_a_page_is_no_bucket_and_no_object(server: type[_Answers], what: str, tmp_path: Path) -> None:
    store, own = open_store("s3://bucket/x"), tmp_path / "own"
    own.write_bytes(b"content")
    tried: dict[str, Callable[[], object]] = {
        "list": lambda: list(store.list()),
        "read": lambda: store.read("a"),
        "download": lambda: store.download("a", tmp_path / "there"),
        "write": lambda: store.write("a", b"content"),
        "upload": lambda: store.upload(own, "a"),
    }
    with pytest.raises(StoreError, match=r"is not an S3 server \(a proxy's page\?\); check MASD_S3_ENDPOINT") as caught:
        tried[what]()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("accepts", [True, False])
def test_a_bucket_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, accepts: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64 if accepts else 0)
        waiting = []
        if not accepts:  # a full queue: connecting itself is never answered
            for _ in range(3):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(silent.getsockname())
                waiting.append(client)
        _environment(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(StoreError, match="no answer from http://127") as caught:
            open_store("s3://bucket/x").read("a")
        assert time.monotonic() - start < MOST_SECONDS
        assert "\n" not in str(caught.value)
        for client in waiting:
            client.close()


@pytest.mark.parametrize("name", ["Plant", "a", "a_b", "a..b", "-a-", "192.168.0.1", "x" * 64])
def test_a_name_that_no_bucket_can_have_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="cannot be a bucket's name"):
        open_store(f"s3://{name}/x")


def test_rotated_keys_are_read_again(
    s3_gateway: S3Gateway, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "credentials"
    access, secret = (s3_gateway.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets))

    def write(key: str) -> None:
        staged = tmp_path / "staged"
        staged.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        staged.replace(secrets)

    write(access)
    store = open_store(s3_url)
    store.write("a", b"1")
    write("no longer known")
    with pytest.raises(StoreError, match="does not know this access key"):
        store.write("a", b"2")
    write(access)
    store.write("a", b"3")
    secrets.write_text("half of a fi")  # the keys of before go on
    assert store.read("a") == b"3"
