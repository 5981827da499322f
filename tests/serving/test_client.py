"""The client: what it sends again, what it never does, and what it says. Against a server that is scripted."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from masd.errors import MasdError
from serving.client import AsyncScoringClient, ScoringClient, ScoringError, rest

Reply = tuple[int, dict[str, Any] | None]


class Scripted:
    """Answers one reply after the other, the last one for ever; None cuts the connection. Keeps what was asked."""

    def __init__(self, replies: list[Reply | None]) -> None:
        self.replies = replies
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""


@contextmanager
def _scripted(*replies: Reply | None) -> Iterator[Scripted]:
    script = Scripted(list(replies))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.requests.append((self.path, dict(self.headers), body))
            reply = script.replies[min(len(script.requests), len(script.replies)) - 1]
            if reply is None:
                self.close_connection = True
                return
            status, content = reply
            text = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield script
        server.shutdown()
        thread.join()


Call = Callable[..., dict[str, Any]]


def _blocking(
    url: str, *arguments: Any, method: str = "score", client: dict[str, Any] | None = None, **more: Any
) -> Any:
    with ScoringClient(url, **(client or {})) as scoring:
        return getattr(scoring, method)(*arguments, **more)


def _asyncio(
    url: str, *arguments: Any, method: str = "score", client: dict[str, Any] | None = None, **more: Any
) -> Any:
    async def call() -> Any:
        async with AsyncScoringClient(url, **(client or {})) as scoring:
            return await getattr(scoring, method)(*arguments, **more)

    return asyncio.run(call())


@pytest.fixture(params=[_blocking, _asyncio], ids=["blocking", "asyncio"])
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Call:
    """One call of either client; pauses are a hundredth of what they are."""
    monkeypatch.setattr(rest, "FIRST_PAUSE_SECONDS", 0.002)
    return request.param


@pytest.mark.parametrize("status", [500, 503, 507, None])
def test_a_busy_or_absent_server_is_asked_again(call: Call, status: int | None) -> None:
    trouble = None if status is None else (status, None)
    with _scripted(trouble, trouble, (200, {"score": 0.5})) as server:
        assert call(server.url, "fan", b"clip") == {"score": 0.5}
    assert len(server.requests) == 3
    assert len({body.split(b"\r\n", 1)[1].rsplit(b"--", 2)[0] for _, _, body in server.requests}) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429])
def test_a_4xx_never_is(call: Call, status: int) -> None:
    with (
        _scripted((status, {"error": "kind", "detail": "what was wrong"})) as server,
        pytest.raises(ScoringError, match=f"{server.url}/predictions/fan answered {status}: what was wrong") as error,
    ):
        call(server.url, "fan", b"clip")
    assert (error.value.status, error.value.error, len(server.requests)) == (status, "kind", 1)


def test_gives_up_after_its_retries_with_the_last_words(call: Call) -> None:
    with _scripted((503, {"message": "no worker"})) as server, pytest.raises(ScoringError, match="503: no worker"):
        call(server.url, "fan", b"clip", client={"retries": 2})
    assert len(server.requests) == 3


def test_pauses_double_and_are_never_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with _scripted((503, None)) as server, ScoringClient(server.url, retries=7) as client, pytest.raises(ScoringError):
        client.score("fan", b"clip")
    longest = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert len(slept) == len(longest)
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(slept, longest, strict=True))
    assert slept != longest


def test_an_answer_that_never_comes_ends_in_an_error(call: Call) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as silent:
        url = f"http://127.0.0.1:{silent.server_address[1]}"  # takes connections, as the kernel does it, and no more
        begin = time.monotonic()
        with pytest.raises(ScoringError, match=f"no answer from {url}: .*timed out|ReadTimeout"):
            call(url, "fan", b"clip", client={"timeout": 0.2, "retries": 1})
        assert time.monotonic() - begin < 5


def test_what_is_sent(call: Call) -> None:
    with _scripted((200, {})) as server:
        given = {"threshold": 0.25, "request_id": "r 1", "top_segments": 3, "version": "7"}
        call(server.url, "my fan", b"RIFF\0clip", client={"token": "t0ken-of-16-chars"}, **given)
        call(server.url, "fan", b"clip", method="explain", client={"token": lambda: "another"})
        call(f"{server.url}/plant/", "fan", b"clip")
    (path, headers, body), (explained, other_headers, _), (prefixed, plain_headers, plain_body) = server.requests
    assert (path, explained, prefixed) == ("/predictions/my%20fan/7", "/explanations/fan", "/plant/predictions/fan")
    assert headers["Authorization"] == "Bearer t0ken-of-16-chars"
    assert other_headers["Authorization"] == "Bearer another"
    assert "Authorization" not in plain_headers
    for name, value in (("threshold", "0.25"), ("request_id", "r 1"), ("top_segments", "3")):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in body
    assert b'name="data"; filename="clip"' in body
    assert b"RIFF\0clip" in body
    assert b"threshold" not in plain_body


def test_what_cannot_be_sent(call: Call, tmp_path: Path) -> None:
    for url in ("127.0.0.1:8080", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(MasdError, match="is not the address of a server"):
            call(url, "fan", b"clip")
    with pytest.raises(MasdError, match=r"cannot read .*nothing\.wav: No such file"):
        call("http://127.0.0.1:9", "fan", tmp_path / "nothing.wav")


def test_one_client_serves_many_at_once() -> None:
    async def many(url: str) -> list[dict[str, Any]]:
        async with AsyncScoringClient(url) as client:
            return await asyncio.gather(*(client.score("fan", b"clip") for _ in range(30)))

    with _scripted((200, {"score": 1.0})) as server:
        assert asyncio.run(many(server.url)) == [{"score": 1.0}] * 30
