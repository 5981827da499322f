"""A board served from a thread, as ``masd board`` serves it, or asked without a server."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import uvicorn

from serving.board.app import Board
from serving.board.changes import Changes
from serving.board.sessions import Sessions
from serving.board.sources import Sources

TOKEN = "a token of the test's own"


@contextlib.contextmanager
def board(sources: Sources, *, token: bool = True, changes: bool = True, private: bool = False) -> Iterator[str]:
    """Yields the address."""
    sessions = Sessions(TOKEN) if token else None
    application = Board(sources, sessions, Changes(sources) if changes else None).application(
        private=private, loopback=True
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


class Client:
    """Asks an application without a server, keeps its cookies and follows no redirection."""

    def __init__(self, application: Any, base_url: str) -> None:
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url=base_url)
        self.cookies = self._http.cookies

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._http.get(path, **options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._http.post(path, **options))
