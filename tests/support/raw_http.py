"""What a server answers, word for word: no client library between the test and the socket's bytes."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

from serving.server import RunningServer

Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """Status, body and how long it took; ``json`` is None where the body is no JSON object."""

    status: int
    content_type: str | None
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


def call(url: str, method: str, path: str, body: Any = b"", headers: Headers | None = None) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    begin = time.monotonic()
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    return Answer(response.status, response.getheader("content-type"), text, time.monotonic() - begin)


def machine_of(server: RunningServer) -> str:
    """The one machine that a test's server has a model of."""
    (machine,) = server.models
    return machine


def post(server: RunningServer, body: bytes, content_type: str = "audio/wav", call_for: str = "predictions") -> Answer:
    """``POST /predictions/<machine>``, or ``/explanations/``."""
    return call(server.url, "POST", f"/{call_for}/{machine_of(server)}", body, {"Content-Type": content_type})


def post_json(server: RunningServer, body: object, call_for: str = "predictions") -> Answer:
    """The same with a JSON body."""
    return post(server, json.dumps(body).encode(), "application/json", call_for)


def management_key(server: RunningServer) -> Headers:
    """The header that TorchServe's management port asks for."""
    key = json.loads(server.key_file.read_text(encoding="utf-8"))["management"]["key"]
    return {"Authorization": f"Bearer {key}"}


def workers(server: RunningServer) -> dict[int, str]:
    """Process id and start time of the model's workers: another one after a test means that one died."""
    answer = call(server.management_url, "GET", f"/models/{machine_of(server)}", headers=management_key(server))
    return {worker["pid"]: worker["startTime"] for worker in json.loads(answer.body)[0]["workers"]}


def form_of(*parts: tuple[str, bytes, str]) -> bytes:
    """A form of files with the boundary ``x``: name, content as it is sent, and transfer encoding of each."""
    head = '--x\r\nContent-Disposition: form-data; name="{}"; filename="c"\r\nContent-Transfer-Encoding: {}\r\n\r\n'
    sent = (head.format(name, encoding).encode() + content + b"\r\n" for name, content, encoding in parts)
    return b"".join(sent) + b"--x--\r\n"
