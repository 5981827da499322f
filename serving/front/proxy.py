"""The listener for other computers: asks for the token before anything else, then passes requests on.

TorchServe knows no token that stays the same, and its metrics port no authentication at all. So with ``--auth static``
all of its addresses are loopback addresses, and this small application is the only door: a request without the token
is answered before its body is read, and what it may reach is a short list.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from masd.errors import MasdError
from masd.files import json_text
from serving.front.auth import StaticToken
from serving.front.connections import limited
from serving.front.content_type import LOOKED_AT, is_multipart, known_type
from serving.front.metrics import status_metrics
from serving.front.traffic import (
    NO_ANSWER,
    NOT_READY,
    RETRY_SECONDS,
    SLOW,
    STOPPING,
    Refusal,
    Room,
    Traffic,
    answer_seconds,
    body_seconds,
    machine_of,
)
from serving.torchserve.config import listen

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PASSED_ON = ("/predictions/", "/explanations/", "/v2/")
PASSED_HEADERS = (b"content-type", b"content-length", b"accept", b"x-request-id")
"""Of a request. The token stays here: whatever TorchServe and the handler log, it is not among it."""
ANY = (b"accept", b"x-request-id")
"""Those of a request without a body."""

METHODS = ("GET", "POST", "PUT")
STOP_SECONDS = 1


class TooLargeError(Exception):
    """A body of unstated length turned out to be too large."""


class Front:
    """An ASGI application.

    ``GET /ready`` (or HEAD) is for probes, which have no token: 200 or 503, and nothing else to learn. ``GET /status``
    and ``GET /metrics`` and everything under ``PASSED_ON`` need the token. Without a token only ``/ready`` is answered.

    ``key`` is what TorchServe itself asks for.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        token: StaticToken | None = None,
        inference_url: str = "",
        metrics_url: str = "",
        max_bytes: int = 0,
        key: Callable[[], str] | None = None,
    ) -> None:
        self.traffic = Traffic()
        self._key = key
        self._status = status
        self._token = token
        self._inference_url = inference_url
        self._metrics_url = metrics_url
        self._max_bytes = max_bytes
        self._http = httpx.AsyncClient(
            timeout=5.0,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        if path == "/ready" and method in ("GET", "HEAD"):
            ready = bool(self._status()["ready"])
            await _reply(send, 200 if ready else 503, {"ready": ready})
        elif self._token is None or not self._token.matches(headers.get(b"authorization", b"")):
            await _error(send, 401, "unauthorized", "a token is needed: Authorization: Bearer ...")
        elif method not in METHODS:
            await _error(send, 405, "method_not_allowed", f"use one of the methods {', '.join(METHODS)}")
        elif (method, path) == ("GET", "/status"):
            await _reply(send, 200, self._status())
        elif (method, path) == ("GET", "/metrics"):
            await self._metrics(send)
        elif not path.startswith(PASSED_ON) or ".." in path:
            await _error(
                send,
                404,
                "not_found",
                "no such path: there are /predictions/, /explanations/, /v2/, /metrics, /status and /ready",
            )
        elif int(headers.get(b"content-length", b"0") or 0) > self._max_bytes:
            await _error(send, 413, "too_large", f"the body is larger than {self._max_bytes} bytes")
        elif refusal := self.traffic.refusal(machine := machine_of(path)):
            await _refuse(send, refusal)
        else:
            self.traffic.enter(machine)
            try:
                await self._pass_on(scope, receive, send, headers)
            finally:
                self.traffic.leave(machine)

    async def _pass_on(self, scope: Message, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        """Have TorchServe answer, in its time and before the end."""
        asking = asyncio.ensure_future(self._ask(scope, receive, headers))
        over = asyncio.ensure_future(self.traffic.over())
        try:
            await asyncio.wait({asking, over}, return_when=asyncio.FIRST_COMPLETED)
            answer = asking.result() if asking.done() else STOPPING
        finally:
            asking.cancel()
            over.cancel()
        if (
            not isinstance(answer, Refusal)
            and answer.status_code == 404
            and self._is_to_come(machine_of(scope["path"]))
        ):
            answer = NOT_READY
        if isinstance(answer, Refusal):
            await _refuse(send, self.traffic.refuse(answer))
        else:
            content_type = answer.headers.get("content-type", "application/json")
            await _send(send, answer.status_code, content_type, answer.content)

    def _is_to_come(self, machine: str) -> bool:
        """Whether the machine is in production, and only not served yet: TorchServe says of both that it is unknown."""
        model: dict[str, Any] = self._status().get("models", {}).get(machine, {})
        return model.get("wanted") is not None and model.get("serving") is None

    async def _ask(self, scope: Message, receive: Receive, headers: dict[bytes, bytes]) -> httpx.Response | Refusal:
        url = httpx.URL(self._inference_url).copy_with(raw_path=scope["raw_path"] + _query(scope))
        sends = scope["method"] in ("POST", "PUT")
        length = int(headers[b"content-length"]) if headers.get(b"content-length") else None if sends else 0
        passed = {name: value for name, value in headers.items() if name in PASSED_HEADERS and (sends or name in ANY)}
        content: AsyncIterator[bytes] | bytes | None = None
        try:
            if self._key is not None:
                passed[b"authorization"] = f"Bearer {self._key()}".encode()
            if sends:
                content = self._body(receive, body_seconds(length))
                content_type, form = headers.get(b"content-type", b""), b""
                if is_multipart(content_type) and length is not None and 0 < length <= LOOKED_AT:
                    content = form = b"".join([piece async for piece in content])
                passed[b"content-type"] = known_type(content_type, form)
            limit = httpx.Timeout(answer_seconds(length), connect=5.0)
            request = self._http.build_request(
                scope["method"], url, headers=list(passed.items()), content=content, timeout=limit
            )
            return await self._http.send(request)
        except TooLargeError:
            return Refusal(413, "too_large", f"the body is larger than {self._max_bytes} bytes")
        except TimeoutError:
            return SLOW
        except httpx.ReadTimeout:
            return NO_ANSWER
        except (httpx.TransportError, MasdError):  # MasdError: TorchServe has written no key yet
            return NOT_READY

    async def _body(self, receive: Receive, seconds: float) -> AsyncIterator[bytes]:
        """:raises TimeoutError: it does not come in this time."""
        size = 0
        deadline = time.monotonic() + seconds
        while True:
            message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            if message["type"] == "http.disconnect":
                raise httpx.ReadError("the caller closed the connection")
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
            await _refuse(send, NOT_READY)
            return
        text = response.text + status_metrics(self._status(), self.traffic)
        await _send(send, response.status_code, "text/plain; version=0.0.4; charset=utf-8", text.encode())


@contextmanager
def listening(
    front: Front, host: str, port: int, option: str = "--port", drain_seconds: float = 0.0, most: int | None = None
) -> Iterator[str]:
    """Serve ``front`` in a thread of its own inside the block; yields its address.

    At the end, open requests have ``drain_seconds`` to be answered; then they are refused. ``most`` connections
    are open at a time.

    :raises MasdError: the port cannot be used.
    """
    with socket.socket() as listener:
        number = listen(listener, host, port, option)
        config = uvicorn.Config(
            front,
            http=limited(Room(most)),
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
            front.traffic.drain(drain_seconds)
            server.should_exit = True
            thread.join(STOP_SECONDS + 0.5)


def _query(scope: Message) -> bytes:
    return b"?" + scope["query_string"] if scope["query_string"] else b""


async def _error(send: Send, code: int, error: str, detail: str) -> None:
    await _reply(send, code, {"code": code, "error": error, "detail": detail})


async def _refuse(send: Send, refusal: Refusal) -> None:
    retry = [(b"retry-after", str(RETRY_SECONDS).encode())] if refusal.code == 503 else []
    await _send(send, refusal.code, "application/json", refusal.body(), retry)


async def _reply(send: Send, status: int, body: dict[str, Any]) -> None:
    await _send(send, status, "application/json", json_text(body).encode())


async def _send(
    send: Send, status: int, content_type: str, body: bytes, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode()), *more]
    if status == 401:
        headers += [(b"www-authenticate", b"Bearer"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
