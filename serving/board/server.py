"""Serve the board until it is stopped."""

import json
import os
import socket
from collections.abc import Sequence

import uvicorn

from masd.alarms.recipients import Recipient
from masd.errors import MasdError
from serving.board.app import Board
from serving.board.changes import Changes
from serving.board.guard import LOOPBACK_NAMES
from serving.board.sessions import Sessions
from serving.board.sources import Sources
from serving.front.auth import read_secret
from serving.torchserve.config import listen

TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "MASD_BOARD_TOKEN", "MASD_BOARD_TOKEN_FILE"
"""Another token than that of scoring: who may post clips may not promote models."""
STOP_SECONDS = 3


def serve_board(
    sources: Sources,
    *,
    host: str,
    port: int,
    allow_changes: bool,
    recipients: Sequence[Recipient] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; once ready, print one JSON line on standard output.

    On another host than loopback every page needs the token; on loopback only changes do.

    :raises MasdError: no token where one is needed, or a port that cannot be used.
    """
    loopback = host in LOOPBACK_NAMES
    given = os.environ.get(TOKEN_VARIABLE) or os.environ.get(TOKEN_FILE_VARIABLE)
    needed_by = f"--host {host}" if not loopback else "--allow-changes" if allow_changes else TOKEN_VARIABLE
    needed = allow_changes or not loopback
    sessions = Sessions(read_secret(TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, needed_by)) if needed or given else None
    changes = Changes(sources, recipients) if allow_changes else None
    application = Board(sources, sessions, changes).application(private=not loopback, loopback=loopback)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        number = listen(listener, host, port, "--port")
        config = uvicorn.Config(
            application,
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        shown = f"[{host}]" if ":" in host else host
        server = _Server(config, {"ready": True, "url": f"http://{shown}:{number}", "changes": allow_changes})
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            return
    if not server.started:
        raise MasdError("the board did not start: the reason is in the lines above")


class _Server(uvicorn.Server):
    """Says on standard output when it is ready."""

    def __init__(self, config: uvicorn.Config, line: dict[str, object]) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps(self._line), flush=True)
