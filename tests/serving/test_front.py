"""What the front passes on and what it keeps, and the limits that it shares with the relay."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import httpx
import pytest

from masd.errors import MasdError
from serving.archive import MODEL_CONFIG
from serving.front import connections, relay, traffic
from serving.front.auth import StaticToken
from serving.front.metrics import status_metrics
from serving.front.proxy import Front, listening
from serving.front.relay import relaying
from serving.front.traffic import MOST_IN_FLIGHT, Refusal, Traffic

SECRET = "sixteen-or-more-chars"
HTTP = httpx.Client(
    trust_env=False, timeout=30, verify=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
)
HEADERS = {"Authorization": f"Bearer {SECRET}"}


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer({"path": self.path, "headers": dict(self.headers), "body": body.decode()})

    def do_GET(self) -> None:
        self._answer({"path": self.path, "headers": dict(self.headers)})

    def _answer(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(404 if "missing" in self.path else 422 if "wrong" in self.path else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def _front(inference_url: str, ready: bool = True) -> Iterator[str]:
    fan = {"serving": "1", "wanted": "2", "problem": "it does not load"}
    status = {"ready": ready, "models": {"fan": fan, "pump": {"serving": None, "wanted": "1", "problem": None}}}
    front = Front(lambda: status, StaticToken(SECRET), inference_url, inference_url, max_bytes=1000)
    with listening(front, "127.0.0.1", 0) as url:
        yield url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with _front(f"http://127.0.0.1:{server.server_address[1]}") as front:
            yield front
        server.shutdown()
        thread.join()


def _post(url: str, **arguments: Any) -> httpx.Response:
    headers = HEADERS | arguments.pop("headers", {})
    return HTTP.post(url, headers=headers, **arguments)


def test_passes_on_body_path_query_and_type_but_never_the_token(url: str) -> None:
    sent = {"Content-Type": "audio/flac", "Cookie": "a=b", "X-Request-Id": "r", "explain": "True"}
    answer = _post(f"{url}/predictions/my%20fan%2F/3?a=%20b", content=b"clip", headers=sent).json()
    assert (answer["path"], answer["body"]) == ("/predictions/my%20fan%2F/3?a=%20b", "clip")
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    assert (headers["content-type"], headers["content-length"], headers["x-request-id"]) == ("audio/flac", "4", "r")
    assert not {"authorization", "cookie", "explain"} & headers.keys()
    assert SECRET not in json.dumps(answer)


def test_the_answer_comes_back_as_it_was(url: str) -> None:
    refused = _post(f"{url}/predictions/wrong", content=b"clip")
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/json")
    assert refused.json()["body"] == "clip"


def test_a_machine_in_production_that_is_not_loaded_yet_is_no_unknown_machine(url: str) -> None:
    """TorchServe answers 404 to both, which no client tries again."""
    answer = _post(f"{url}/predictions/pump?missing", content=b"clip")
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "not_ready", "1")
    assert _post(f"{url}/predictions/fan/7?missing", content=b"clip").status_code == 404
    assert _post(f"{url}/predictions/nobody?missing", content=b"clip").status_code == 404


def test_a_body_of_unstated_length_is_passed_on_up_to_the_limit(url: str) -> None:
    assert (
        _post(f"{url}/predictions/fan", content=iter([b"a" * 500, b"b" * 500])).json()["body"] == "a" * 500 + "b" * 500
    )
    for content in (iter([b"a" * 600, b"b" * 600]), b"c" * 1001):
        refused = _post(f"{url}/predictions/fan", content=content)
        assert (refused.status_code, refused.json()["error"]) == (413, "too_large")


def test_a_server_that_is_away_is_503_and_not_ready_is_too() -> None:
    with _front("http://127.0.0.1:9", ready=False) as url:
        for path in ("/predictions/fan", "/explanations/fan"):
            answer = _post(url + path, content=b"clip")
            assert (answer.status_code, answer.json()["error"]) == (503, "not_ready")
        assert httpx.get(f"{url}/metrics", headers=HEADERS, trust_env=False).status_code == 503
        ready = httpx.get(f"{url}/ready", trust_env=False)
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        status = httpx.get(f"{url}/status", headers=HEADERS, trust_env=False).json()
        assert status["models"]["fan"]["problem"] == "it does not load"


def test_a_torchserve_that_has_written_no_key_yet_is_not_ready(
    slow: "_Slow", capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that starts again is asked at once: no traceback a request."""

    def key() -> str:
        raise MasdError("key_file.json: contains no keys of TorchServe")

    front = Front(lambda: {"ready": False}, StaticToken(SECRET), slow.url, "", max_bytes=1000, key=key)
    for listener in (listening(front, "127.0.0.1", 0), relaying(slow.url, "127.0.0.1", 0, key=key)):
        with listener as url:
            answer = _post(f"{url}/predictions/fan", content=b"clip")
            assert (answer.status_code, answer.json()["error"]) == (503, "not_ready")
    assert capfd.readouterr().err == ""


def test_metrics_of_the_server_itself_are_prometheus_text() -> None:
    models = {
        "fan": {"serving": "1", "wanted": "2"},
        "pump": {"serving": None, "wanted": "1"},
        "saw": {"serving": "4", "wanted": "4"},
        "no machine": {"serving": None, "wanted": None},
    }
    loops = {"registry": {"last_success": 12.5}, "inference log": {"last_success": None}}
    refusing = Traffic()
    refusing.refuse(Refusal(503, "busy", ""))
    status = {"ready": True, "models": models, "loops": loops, "probes": {"fan": {"last_answer": 11.0}}}
    samples = [line for line in status_metrics(status, refusing).splitlines() if not line.startswith("#")]
    assert samples == [
        "masd_ready{} 1",
        'masd_model_behind{ModelName="fan",ModelVersion="1"} 1',
        'masd_model_behind{ModelName="pump",ModelVersion=""} 1',
        'masd_model_behind{ModelName="saw",ModelVersion="4"} 0',
        'masd_loop_last_success_seconds{Loop="registry"} 12.5',
        'masd_probe_last_answer_seconds{ModelName="fan"} 11.0',
        'masd_refused_total{Reason="busy"} 1',
        *(
            f'masd_refused_total{{Reason="{reason}"}} 0'
            for reason in ("no_answer", "not_ready", "stopping", "too_slow")
        ),
    ]
    assert "masd_model_behind" not in status_metrics({"ready": True}, Traffic())


def test_other_methods_are_refused_and_head_is_a_probe_too(url: str) -> None:
    for method in ("PATCH", "DELETE", "OPTIONS", "HEAD"):
        answer = httpx.request(method, f"{url}/predictions/fan", headers=HEADERS, content=b"x", trust_env=False)
        assert answer.status_code == 405
        assert method == "HEAD" or answer.json()["error"] == "method_not_allowed"
    ready = httpx.head(f"{url}/ready", trust_env=False)
    assert (ready.status_code, ready.content) == (200, b"")
    assert httpx.get(f"{url}/predictions/fan", headers=HEADERS, trust_env=False).json()["path"] == "/predictions/fan"


class _Slow:
    """Accepts and reads, and answers nothing until it is let go."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.go = threading.Event()
        self.asked = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(1 << 16)
            self.asked += 1
            self.go.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK")
            time.sleep(0.2)


@pytest.fixture
def slow() -> Iterator[_Slow]:
    server = _Slow()
    with server.listener:
        yield server
        server.go.set()


Listener = Callable[[str, float], AbstractContextManager[str]]


def _through_front(inference_url: str, drain: float, most: int | None = None) -> AbstractContextManager[str]:
    front = Front(lambda: {"ready": True}, StaticToken(SECRET), inference_url, "", max_bytes=1000)
    return listening(front, "127.0.0.1", 0, drain_seconds=drain, most=most)


def _through_relay(inference_url: str, drain: float, most: int | None = None) -> AbstractContextManager[str]:
    return relaying(inference_url, "127.0.0.1", 0, key=lambda: "key", drain_seconds=drain, most=most)


BOTH = pytest.mark.parametrize("listener", [_through_front, _through_relay])


@BOTH
def test_requests_of_one_machine_are_bounded_and_another_machine_is_let_in(listener: Listener, slow: _Slow) -> None:
    with listener(slow.url, 5.0) as url, ThreadPoolExecutor(MOST_IN_FLIGHT + 5) as pool:
        waiting = [pool.submit(_post, f"{url}/predictions/fan", content=b"clip") for _ in range(MOST_IN_FLIGHT)]
        while slow.asked < MOST_IN_FLIGHT:
            time.sleep(0.05)
        refused = _post(f"{url}/predictions/f%61n/3", content=b"clip")
        assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (503, "busy", "1")
        other = pool.submit(_post, f"{url}/predictions/pump", content=b"clip")
        time.sleep(0.2)
        slow.go.set()
        assert other.result().content == b"OK"
        assert {answer.result().status_code for answer in waiting} == {200}
        assert _post(f"{url}/predictions/fan", content=b"clip").content == b"OK"


@BOTH
def test_no_answer_in_time_is_told(listener: Listener, slow: _Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "USUAL_SECONDS", 0.5)
    with listener(slow.url, 0.0) as url:
        begin = time.monotonic()
        answer = _post(f"{url}/predictions/fan", content=b"clip")
        assert (answer.status_code, answer.json()["error"]) == (503, "no_answer")
        assert 0.4 < time.monotonic() - begin < 5


def test_the_listener_and_torchserve_wait_equally_long() -> None:
    assert MODEL_CONFIG["responseTimeout"] == traffic.LONGEST_SECONDS
    assert traffic.answer_seconds(traffic.USUAL_BYTES) == traffic.USUAL_SECONDS < traffic.LONGEST_SECONDS
    assert traffic.answer_seconds(traffic.USUAL_BYTES + 1) == traffic.answer_seconds(None) == traffic.LONGEST_SECONDS


@BOTH
def test_what_is_in_flight_at_the_end_is_answered_and_what_takes_too_long_is_told(
    listener: Listener, slow: _Slow
) -> None:
    with ThreadPoolExecutor(3) as pool:
        with listener(slow.url, 10.0) as url:
            first = pool.submit(_post, f"{url}/predictions/fan", content=b"clip")
            time.sleep(0.3)
            threading.Timer(1.0, slow.go.set).start()
            late = pool.submit(lambda: (time.sleep(0.4), _post(f"{url}/predictions/fan", content=b"clip"))[1])
        assert first.result().content == b"OK"
        assert (late.result().status_code, late.result().json()["error"]) == (503, "stopping")
        slow.go.clear()
        with listener(slow.url, 0.2) as url:
            second = pool.submit(_post, f"{url}/predictions/fan", content=b"clip")
            time.sleep(0.3)
        assert (second.result().status_code, second.result().json()["error"]) == (503, "stopping")


@BOTH
def test_half_sent_heads_keep_nobody_out_and_end(
    listener: Any, slow: _Slow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (connections, relay):
        monkeypatch.setattr(module, "FIRST_HEAD_SECONDS", 3.0)
    slow.go.set()
    with listener(slow.url, 0.0, 20) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        held = [socket.create_connection(address, timeout=10) for _ in range(60)]
        for connection in held:
            with suppress(OSError):
                connection.sendall(b"POST /predictions/fan HTTP/1.1\r\nHost:")
        begin = time.monotonic()
        assert _post(f"{url}/predictions/fan", content=b"clip").content == b"OK"
        assert time.monotonic() - begin < 2
        for connection in held:
            with connection, suppress(ConnectionError):
                assert connection.recv(10) == b""
        assert time.monotonic() - begin < 8
    assert capsys.readouterr().err.count("20 connections are open") == 1


@BOTH
def test_a_body_that_does_not_come_is_told(listener: Listener, slow: _Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "BODY_SECONDS", 0.5)
    with (
        listener(slow.url, 0.0) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as caller,
    ):
        caller.sendall(f"POST /predictions/fan HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n".encode())
        caller.sendall(b"Content-Length: 100\r\n\r\nhalf")
        assert caller.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_the_relay_puts_torchserves_key_in_the_place_of_any_other(slow: _Slow) -> None:
    head = relay._with_key(
        b"POST /x HTTP/1.1\r\nAuthorization: Bearer mine\r\n more\r\nHost: x\r\n\r\n", "k", last=False
    )
    assert head == b"POST /x HTTP/1.1\r\nAuthorization: Bearer k\r\nHost: x\r\n\r\n"
    head = relay._with_key(b"POST /x HTTP/1.1\r\nConnection: keep-alive\r\nHost: x\r\n\r\n", "k", last=True)
    assert head == b"POST /x HTTP/1.1\r\nAuthorization: Bearer k\r\nConnection: close\r\nHost: x\r\n\r\n"
