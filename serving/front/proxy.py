"""The listener for others than this machine: asks for the token before anything else, then passes requests on.

TorchServe knows no token that stays the same, and its metrics port no authentication at all. So with ``--auth static``
all of its addresses are loopback addresses, and this small application is the only door: a request without the token
is answered before its body is read, and what it may reach is a short list.
"""

import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from masd.files import json_text
from serving.front.auth import StaticToken
from serving.front.content_type import LOOKED_AT, is_multipart, known_type
from serving.torchserve.config import listen

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PASSED_ON = ("/predictions/", "/explanations/", "/v2/")
PASSED_HEADERS = (b"content-type", b"content-length", b"accept", b"x-request-id")
"""Of a request. The token stays here: whatever TorchServe and the handler log, it is not among it."""

ANSWER_SECONDS = 300.0
STOP_SECONDS = 1


class TooLargeError(Exception):
    """A body of unstated length turned out to be too large."""


class Front:
    """An ASGI application.

    ``GET /ready`` is for probes, which have no token: 200 or 503, and nothing else to learn. ``GET /status`` and
    ``GET /metrics`` and everything under ``PASSED_ON`` need the token. Without a token only ``/ready`` is answered.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        token: StaticToken | None = None,
        inference_url: str = "",
        metrics_url: str = "",
        max_bytes: int = 0,
    ) -> None:
        self._status = status
        self._token = token
        self._inference_url = inference_url
        self._metrics_url = metrics_url
        self._max_bytes = max_bytes
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=5.0),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        if (method, path) == ("GET", "/ready"):
            ready = bool(self._status()["ready"])
            await _reply(send, 200 if ready else 503, {"ready": ready})
        elif self._token is None or not self._token.matches(headers.get(b"authorization", b"")):
            await _error(send, 401, "unauthorized", "this needs the token: Authorization: Bearer ...")
        elif (method, path) == ("GET", "/status"):
            await _reply(send, 200, self._status())
        elif (method, path) == ("GET", "/metrics"):
            await self._metrics(send)
        elif not path.startswith(PASSED_ON) or ".." in path:
            await _error(send, 404, "not_found", "there are /predictions/, /explanations/, /v2/, /metrics and /status")
        elif int(headers.get(b"content-length", b"0") or 0) > self._max_bytes:
            await _error(send, 413, "too_large", f"the body is larger than {self._max_bytes} bytes")
        else:
            await self._pass_on(scope, receive, send, headers)

    async def _pass_on(self, scope: Message, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        url = httpx.URL(self._inference_url).copy_with(raw_path=scope["raw_path"] + _query(scope))
        passed = {name: value for name, value in headers.items() if name in PASSED_HEADERS}
        content: AsyncIterator[bytes] | bytes | None = None
        try:
            if scope["method"] in ("POST", "PUT"):
                content = self._body(receive)
                content_type, form = headers.get(b"content-type", b""), b""
                if is_multipart(content_type) and 0 < int(headers.get(b"content-length", b"0")) <= LOOKED_AT:
                    content = form = b"".join([piece async for piece in content])
                passed[b"content-type"] = known_type(content_type, form)
            request = self._http.build_request(scope["method"], url, headers=list(passed.items()), content=content)
            response = await self._http.send(request)
        except TooLargeError:
            await _error(send, 413, "too_large", f"the body is larger than {self._max_bytes} bytes")
        except httpx.TransportError:
            await _error(send, 503, "not_ready", "the server does not answer: try again")
        else:
            content_type = response.headers.get("content-type", "application/json")
            await _send(send, response.status_code, content_type, response.content)

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise httpx.ReadError("the caller went away")
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise TooLargeError
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def _metrics(self, send: Send) -> None:
        try:
            response = await self._http.get(f"{self._metrics_url}/metrics")
        except httpx.TransportError:
            await _error(send, 503, "not_ready", "the server does not answer: try again")
            return
        text = response.text + agent_metrics(self._status())
        await _send(send, response.status_code, "text/plain; version=0.0.4; charset=utf-8", text.encode())


def agent_metrics(status: dict[str, Any]) -> str:
    """What the model agent knows, in Prometheus' text format; empty where nothing follows a registry."""
    models: dict[str, Any] = status.get("models", {})
    lines = [
        "# HELP masd_model_behind 1 while another version serves than production names",
        "# TYPE masd_model_behind gauge",
    ]
    for name, model in models.items():
        behind = int(model["serving"] != model["wanted"])
        lines.append(f'masd_model_behind{{ModelName="{name}",ModelVersion="{model["serving"] or ""}"}} {behind}')
    return "\n".join(lines) + "\n" if models else ""


@contextmanager
def listening(front: Front, host: str, port: int, option: str = "--port") -> Iterator[str]:
    """Serve ``front`` in a thread of its own inside the block; yields its address.

    :raises MasdError: the port cannot be used.
    """
    with socket.socket() as listener:
        number = listen(listener, host, port, option)
        config = uvicorn.Config(
            front,
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="front", daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{number}"
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS + 0.5)


def _query(scope: Message) -> bytes:
    return b"?" + scope["query_string"] if scope["query_string"] else b""


async def _error(send: Send, code: int, error: str, detail: str) -> None:
    await _reply(send, code, {"code": code, "error": error, "detail": detail})


async def _reply(send: Send, status: int, body: dict[str, Any]) -> None:
    await _send(send, status, "application/json", json_text(body).encode())


async def _send(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers += [(b"www-authenticate", b"Bearer"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
