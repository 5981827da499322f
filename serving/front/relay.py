"""The listener for this computer: TorchServe's own answers, but bodies that it would misread reach the handler whole.

It stands before TorchServe and copies. All it changes is the type of some bodies, for the reasons in ``content_type``,
and whose key a request has: TorchServe's own, which no caller knows. All it answers by itself are the refusals in
``traffic``. A request that it does not understand is TorchServe's to answer: after a body of unstated length the rest
of a connection is copied as it is.
"""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from masd.errors import MasdError
from serving.front.content_type import LOOKED_AT, is_multipart, known_type
from serving.front.traffic import (
    FIRST_HEAD_SECONDS,
    NEXT_HEAD_SECONDS,
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

LARGEST_HEAD = 1 << 16
"""Bytes of a request line and headers; TorchServe itself takes 8 kB."""

PIECE = 1 << 18
"""Bytes copied at once."""

STOP_SECONDS = 1.0

Key = Callable[[], str]

_TYPE = re.compile(rb"(?<=\r\ncontent-type:)[^\r\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_ENCODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_KEY = re.compile(rb"\r\nauthorization[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection[ \t]*:[^\r\n]*", re.IGNORECASE)
_PATH = re.compile(rb"[A-Z]+ (\S+) HTTP/1\.[01]\r\n")


@contextmanager
def relaying(
    url: str,
    host: str,
    port: int,
    option: str = "--port",
    *,
    key: Key | None = None,
    drain_seconds: float = 0.0,
    most: int | None = None,
) -> Iterator[str]:
    """Relay to ``url`` inside the block, in a thread of its own; yields the relay's address.

    At the end, open requests have ``drain_seconds`` to be answered; then they are refused.

    :param key: what TorchServe asks for; None hands on what callers send.
    :param most: connections that are open at a time; None means as many as the process may have.
    :raises MasdError: the port cannot be used, named by its ``option``.
    """
    target = urlsplit(url)
    to = (str(target.hostname), int(target.port or 80))
    traffic, room = Traffic(), Room(most)
    with socket.socket() as listener:
        number = listen(listener, host, port, option)
        loop = asyncio.new_event_loop()
        ended = asyncio.Event()
        serving = _serve(listener, to, ended, traffic, room, key)
        thread = threading.Thread(target=_run, args=(loop, serving), name="relay", daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{number}"
        finally:
            traffic.drain(drain_seconds)
            loop.call_soon_threadsafe(ended.set)
            thread.join(STOP_SECONDS)


def _run(loop: asyncio.AbstractEventLoop, serving: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:  # cancels what is still copied at the end
        runner.run(serving)


async def _serve(
    listener: socket.socket, to: tuple[str, int], ended: asyncio.Event, traffic: Traffic, room: Room, key: Key | None
) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, traffic, room, key, waiting)
        # cancelled: the relay ends, and asyncio would report every connection that is still open as a failure
        with suppress(OSError, asyncio.CancelledError):
            if room.enter(connection, writer.transport.abort):
                await connection.relay(*to)
        connection.leave()
        writer.close()

    async def refuse() -> None:
        await traffic.over()
        for connection in list(waiting):
            connection.refuse(STOPPING)

    waiting: set[_Connection] = set()
    refusing = asyncio.ensure_future(refuse())
    server = await asyncio.start_server(connected, sock=listener, limit=LARGEST_HEAD)
    await ended.wait()
    refusing.cancel()
    server.close()


class _Connection:
    """One caller's connection and its own to TorchServe."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        traffic: Traffic,
        room: Room,
        key: Key | None,
        waiting: "set[_Connection]",
    ) -> None:
        """``waiting`` are the connections of this relay that are owed an answer."""
        self._waiting = waiting
        self._caller, self._to_caller = reader, writer
        self._traffic, self._room, self._key = traffic, room, key
        self._owed: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    async def relay(self, host: str, port: int) -> None:
        """Copy until either side ends it."""
        answers, requests = await asyncio.open_connection(host, port)
        asking = asyncio.ensure_future(self._requests(requests))
        try:
            while piece := await answers.read(PIECE):  # until TorchServe ends: by itself, or because the caller has
                if self._owed and not piece.startswith(b"HTTP/1.1 100"):
                    self._answered()
                self._to_caller.write(piece)
                await self._to_caller.drain()
        finally:
            asking.cancel()
            requests.close()

    def refuse(self, refusal: Refusal) -> None:
        """Answer in TorchServe's stead, and end the connection."""
        self._tell(refusal, close=True)
        self._answered()
        self._to_caller.close()

    def leave(self) -> None:
        """The connection waits for no answer any more."""
        self._answered()
        self._room.leave(self)

    async def _requests(self, writer: asyncio.StreamWriter) -> None:
        """Copy one request after the other, as long as each says how long it is."""
        length: int | None = 0
        seconds = FIRST_HEAD_SECONDS
        with suppress(OSError):  # TorchServe may refuse a body before its end: then its answer is still copied
            while length is not None:
                try:
                    head = await asyncio.wait_for(self._caller.readuntil(b"\r\n\r\n"), seconds)
                except asyncio.IncompleteReadError as end:
                    writer.write(end.partial)
                    break
                except asyncio.LimitOverrunError:
                    break
                except TimeoutError:
                    self._to_caller.transport.abort()
                    return
                self._room.asks(self)
                seconds, length = NEXT_HEAD_SECONDS, _length(head)
                machine = _machine(head)
                if length is not None and (refusal := self._traffic.refusal(machine)):
                    if not await self._pass_over(length, refusal):
                        return
                    continue
                try:
                    async with asyncio.timeout(body_seconds(length)):
                        await self._hand_on(writer, head, length, machine)
                except TimeoutError:
                    self.refuse(self._traffic.refuse(SLOW))
                    return
                except MasdError:  # TorchServe has written no key yet
                    self.refuse(self._traffic.refuse(NOT_READY))
                    return
            await _copy(self._caller, writer)
            writer.write_eof()

    async def _hand_on(self, writer: asyncio.StreamWriter, head: bytes, length: int | None, machine: str) -> None:
        """One request; with a body of unstated length only its head."""
        form = b""
        if (named := _TYPE.search(head)) and is_multipart(named[0]) and length and length <= LOOKED_AT:
            if _EXPECT.search(head):  # curl, of more than a megabyte: it waits for this before it sends the form
                self._to_caller.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                head = _EXPECT.sub(b"", head)
            form = await _read(self._caller, length)
        if found := _TYPE.search(head):  # once more, as the head may have changed
            head = head[: found.start()] + b" " + known_type(found[0], form).strip() + head[found.end() :]
        if self._key is not None:
            head = _with_key(head, self._key(), last=length is None)
        self._owe(machine)
        writer.write(head + form)
        await _copy(self._caller, writer, (length or 0) - len(form))
        self._expect(answer_seconds(length))

    async def _pass_over(self, length: int, refusal: Refusal) -> bool:
        """Refuse a request, and read its body, so that the caller reads the refusal; whether more may come."""
        if self._owed:  # to a request before it: an answer of ours would come out of turn
            self.refuse(refusal)
            return False
        self._tell(refusal, close=False)
        try:
            async with asyncio.timeout(body_seconds(length)):
                while length > 0 and (piece := await self._caller.read(min(length, PIECE))):
                    length -= len(piece)
        except TimeoutError:
            self._to_caller.transport.abort()
            return False
        self._room.rests(self, self._to_caller.transport.abort)
        return True

    def _tell(self, refusal: Refusal, *, close: bool) -> None:
        body = refusal.body()
        lines = [
            f"HTTP/1.1 {refusal.code} {refusal.error}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"connection: {'close' if close else 'keep-alive'}",
            *([f"retry-after: {RETRY_SECONDS}"] if refusal.code == 503 else []),
        ]
        self._to_caller.write("\r\n".join([*lines, "", ""]).encode() + body)

    def _owe(self, machine: str) -> None:
        self._traffic.enter(machine)
        self._owed.append(machine)
        self._waiting.add(self)

    def _expect(self, seconds: float) -> None:
        """Set the time limit until the answer to all requests so far must begin."""
        if self._owed:
            self._cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, lambda: self.refuse(self._traffic.refuse(NO_ANSWER)))

    def _answered(self) -> None:
        self._cancel()
        while self._owed:
            self._traffic.leave(self._owed.pop())
        self._waiting.discard(self)
        self._room.rests(self, self._to_caller.transport.abort)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _with_key(head: bytes, key: str, *, last: bool) -> bytes:
    """The head with TorchServe's key in the place of whatever the caller has sent; ``last`` of its connection."""
    line, end, rest = _KEY.sub(b"", head).partition(b"\r\n")
    own = f"Authorization: Bearer {key}".encode()
    if last:  # what comes behind a body of unstated length is not looked at, and so would have no key
        rest = _CONNECTION.sub(b"", end + rest).removeprefix(end)
        own += b"\r\nConnection: close"
    return line + end + own + end + rest


def _machine(head: bytes) -> str:
    """The machine that a request is for; empty where it is for none."""
    found = _PATH.match(head)
    return machine_of(unquote_to_bytes(found[1]).decode("utf-8", "replace")) if found else ""


def _length(head: bytes) -> int | None:
    """Bytes of the body; None where the head does not say it, or says it in more than one way."""
    stated = _LENGTH.findall(head)
    if _ENCODING.search(head) or len(stated) > 1:
        return None
    return int(stated[0]) if stated else 0


async def _read(reader: asyncio.StreamReader, length: int) -> bytes:
    """So many bytes, or fewer where the caller leaves before."""
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as end:
        return end.partial


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None = None) -> None:
    """So many bytes, or all until the end."""
    while length is None or length > 0:
        piece = await reader.read(PIECE if length is None else min(length, PIECE))
        if not piece:
            return
        writer.write(piece)
        await writer.drain()
        if length is not None:
            length -= len(piece)
