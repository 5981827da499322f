"""A proxy before a real S3 server that can be told to misbehave: HTML, 503, slowness, silence, and half truths."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["through", "html", "unavailable", "slow", "nothing"]

HTML = b"<html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>"


class FaultyProxy:
    """Hands requests on to ``endpoint`` while its ``mode`` is "through", and otherwise misbehaves.

    * "html": 200 and a page, as the sign-in page of a network does, whatever was asked;
    * "unavailable": 503 without a body;
    * "slow": as the server does, ``seconds`` later;
    * "nothing": not at all, until the mode changes.
    """

    def __init__(self, endpoint: str, seconds: float = 5.0) -> None:
        self.mode: Mode = "through"
        self.seconds = seconds
        self.asked = 0
        """Requests so far, in any mode."""
        target = urlsplit(endpoint)
        self._target = (str(target.hostname), int(target.port or 80))
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

            def do_GET(self) -> None:
                with suppress(OSError):
                    proxy._handle(self)

            do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        while self.mode == "nothing":
            time.sleep(0.05)
        if self.mode == "slow":
            time.sleep(self.seconds)
        if self.mode == "html":
            self._answer(request, 200, [("Content-Type", "text/html")], HTML)
        elif self.mode == "unavailable":
            self._answer(request, 503, [], b"")
        else:
            self._hand_on(request, body)

    def _hand_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        there = http.client.HTTPConnection(*self._target, timeout=60)
        try:
            there.request(request.command, request.path, body, dict(request.headers))
            response = there.getresponse()
            headers = [pair for pair in response.getheaders() if pair[0].lower() not in _HOP]
            self._answer(request, response.status, headers, response.read(), response.getheader("Content-Length"))
        except OSError:
            self._answer(request, 502, [], b"")
        finally:
            there.close()

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        length: str | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in headers:
            request.send_header(name, value)
        head = request.command == "HEAD"
        request.send_header("Content-Length", length if head and length is not None else str(len(body)))
        request.end_headers()
        if not head:
            request.wfile.write(body)

    def start(self) -> "FaultyProxy":
        """Listen, in a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        """End, and what waits in "nothing" too."""
        self.mode = "unavailable"
        self._server.shutdown()
        self._server.server_close()


_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "server", "date")


@contextmanager
def faulty_proxy(endpoint: str, seconds: float = 5.0) -> Iterator[FaultyProxy]:
    """A started :class:`FaultyProxy` for a block."""
    proxy = FaultyProxy(endpoint, seconds).start()
    try:
        yield proxy
    finally:
        proxy.stop()
