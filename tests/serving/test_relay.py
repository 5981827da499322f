"""What the relay changes, and that it copies all else as it is, several requests on one connection too."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from masd.errors import MasdError
from serving.front.relay import LARGEST_HEAD, relaying

FORM = b"application/x-www-form-urlencoded"


class _Upstream:
    """Keeps every byte of its connections, and answers each with ``OK`` once it has seen its end."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()
        self.seen: list[bytes] = []

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                heard = b""
                while piece := connection.recv(1 << 16):
                    heard += piece
                self.seen.append(heard)
                connection.sendall(b"OK")


Ask = Callable[[bytes], bytes]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Send bytes through a relay; returns what arrived behind it."""
    upstream = _Upstream()
    with relaying(upstream.url, "127.0.0.1", 0) as url, upstream.listener:

        def through(sent: bytes) -> bytes:
            host, _, port = url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                heard = b""
                while piece := connection.recv(100):
                    heard += piece
            assert heard.endswith(b"OK")
            return upstream.seen[-1]

        yield through


def _request(body: bytes, *headers: bytes, length: bool = True) -> bytes:
    stated = [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([b"POST /predictions/fan HTTP/1.1", b"Host: x", *headers, *stated, b"", body])


def test_only_the_type_of_a_form_changes_in_each_request_of_a_connection(ask: Ask) -> None:
    clip = b"RIFF\r\ncontent-type: " + FORM + b"\r\n\r\n"
    kinds = [b"Content-Type: " + FORM, b"content-type:" + FORM.upper() + b"; charset=utf-8", b"Content-Type: audio/wav"]
    plain = b"application/octet-stream"
    renamed = [b"Content-Type: " + plain, b"content-type: " + plain, b"Content-Type: audio/wav"]
    assert ask(b"".join(_request(clip, kind) for kind in kinds)) == b"".join(_request(clip, kind) for kind in renamed)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"no HTTP at all",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Type:\r\n\r\n".replace(b":\r", b": \r"),
        _request(b"clip")[:-2],
        _request(b"form", b"Content-Type: multipart/form-data; boundary=x")[:-2],
        _request(b"4\r\nclip\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", length=False),
        _request(b"clip", b"Content-Length: 2"),
        b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * LARGEST_HEAD + b"\r\n\r\n",
        b"\0" * 1_000_000,
    ],
    ids=range(10),
)
def test_what_it_does_not_understand_it_copies(ask: Ask, sent: bytes) -> None:
    assert ask(sent) == sent


def test_a_caller_who_waits_for_a_sign_before_the_form_gets_it() -> None:
    upstream = _Upstream()
    with relaying(upstream.url, "127.0.0.1", 0) as url, upstream.listener:
        host, _, port = url.removeprefix("http://").partition(":")
        sent = _request(b"1234", b"Expect: 100-continue", b"Content-Type: multipart/form-data; boundary=x")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(sent[:-4])
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(sent[-4:])
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b"OK"
    assert upstream.seen == [sent.replace(b"Expect: 100-continue\r\n", b"")]


def test_nobody_behind_it_ends_the_connection() -> None:
    with relaying("http://127.0.0.1:9", "127.0.0.1", 0) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            assert connection.recv(100) == b""


def test_connections_that_are_open_end_with_it_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    upstream = _Upstream()
    with upstream.listener:
        with relaying(upstream.url, "127.0.0.1", 0) as url:
            host, _, port = url.removeprefix("http://").partition(":")
            connection = socket.create_connection((host, int(port)), timeout=10)
            connection.sendall(_request(b"clip")[:-2])
            time.sleep(0.2)
        with connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 503 stopping\r\n")
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_named_by_its_option() -> None:
    with relaying("http://127.0.0.1:9", "127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(MasdError, match=f"--port {port} cannot be used"), relaying(url, "127.0.0.1", port):
            pass
