"""uvicorn's connections with limits: how many there are, and how long one may take to ask for something."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serving.front.traffic import FIRST_HEAD_SECONDS, NEXT_HEAD_SECONDS, Room


def limited(room: Room) -> type[asyncio.Protocol]:
    """A protocol for ``uvicorn.Config(http=...)`` whose connections are those of ``room``."""

    class Limited(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, whichever is installed
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if room.enter(self, self._close):
                self._timer = self.loop.call_later(FIRST_HEAD_SECONDS, self._close)
            else:
                self._close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            room.leave(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._cancel()
                room.asks(self)

        def on_response_complete(self) -> None:
            room.rests(self, self._close)
            self._cancel()
            self._timer = self.loop.call_later(NEXT_HEAD_SECONDS, self._close)
            super().on_response_complete()

        def _cancel(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _close(self) -> None:
            self.transport.abort()

    return Limited
