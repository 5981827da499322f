"""What the front passes on and what it keeps, before a server that only says what reached it."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from serving.front.auth import StaticToken
from serving.front.proxy import Front, agent_metrics, listening

SECRET = "sixteen-or-more-chars"
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
        self.send_response(422 if "wrong" in self.path else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def _front(inference_url: str, ready: bool = True) -> Iterator[str]:
    status = {"ready": ready, "models": {"fan": {"serving": "1", "wanted": "2", "problem": "it does not load"}}}
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
    return httpx.post(url, headers=headers, trust_env=False, timeout=30, **arguments)


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


def test_agent_metrics_are_prometheus_text() -> None:
    models = {
        "fan": {"serving": "1", "wanted": "2"},
        "pump": {"serving": None, "wanted": "1"},
        "saw": {"serving": "4", "wanted": "4"},
    }
    *_, fan, pump, saw = agent_metrics({"models": models}).splitlines()
    assert fan == 'masd_model_behind{ModelName="fan",ModelVersion="1"} 1'
    assert pump == 'masd_model_behind{ModelName="pump",ModelVersion=""} 1'
    assert saw == 'masd_model_behind{ModelName="saw",ModelVersion="4"} 0'
    assert agent_metrics({"ready": True}) == ""
