"""The listener for this machine: TorchServe's own answers, but bodies that it would misread reach the handler whole.

It stands before TorchServe and copies; all it changes is the type of some bodies, for the reasons in ``content_type``.
It decides nothing, so a request that it does not understand is TorchServe's to answer: after a body of unstated length
the rest of a connection is copied as it is.
"""

import asyncio
import re
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from serving.front.content_type import LOOKED_AT, is_multipart, known_type
from serving.torchserve.config import listen

LARGEST_HEAD = 1 << 16
"""Bytes of a request line and headers; TorchServe itself takes 8 kB."""

PIECE = 1 << 18
"""Bytes copied at once."""

STOP_SECONDS = 1.0

_TYPE = re.compile(rb"(?<=\r\ncontent-type:)[^\r\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_ENCODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


@contextmanager
def relaying(url: str, host: str, port: int, option: str = "--port") -> Iterator[str]:
    """Relay to ``url`` inside the block, in a thread of its own; yields the relay's address.

    :raises MasdError: the port cannot be used, named by its ``option``.
    """
    target = urlsplit(url)
    to = (str(target.hostname), int(target.port or 80))
    with socket.socket() as listener:
        number = listen(listener, host, port, option)
        loop = asyncio.new_event_loop()
        ended = asyncio.Event()
        thread = threading.Thread(target=_run, args=(loop, _serve(listener, to, ended)), name="relay", daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{number}"
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(STOP_SECONDS)


def _run(loop: asyncio.AbstractEventLoop, serving: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:  # cancels what is still copied at the end
        runner.run(serving)


async def _serve(listener: socket.socket, to: tuple[str, int], ended: asyncio.Event) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # cancelled: the relay ends, and asyncio would report every connection that is still open as a failure
        with suppress(OSError, asyncio.CancelledError):
            await _connection(reader, writer, to)
        writer.close()

    server = await asyncio.start_server(connected, sock=listener, limit=LARGEST_HEAD)
    await ended.wait()
    server.close()


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: tuple[str, int]) -> None:
    answers, requests = await asyncio.open_connection(*to)
    asking = asyncio.ensure_future(_requests(reader, requests, writer))
    try:
        await _copy(answers, writer)  # until TorchServe ends it: by itself, or because the caller has
    finally:
        asking.cancel()
        requests.close()


async def _requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: asyncio.StreamWriter) -> None:
    """Copy one request after the other, as long as each says how long it is."""
    length: int | None = 0
    with suppress(OSError):  # TorchServe may refuse a body before its end: then its answer is still copied
        while length is not None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as end:
                writer.write(end.partial)
                break
            except asyncio.LimitOverrunError:
                break
            length, form = _length(head), b""
            if (named := _TYPE.search(head)) and is_multipart(named[0]) and length and length <= LOOKED_AT:
                if _EXPECT.search(head):  # curl, of more than a megabyte: it waits for this before it sends the form
                    caller.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    head = _EXPECT.sub(b"", head)
                form = await _read(reader, length)
            if found := _TYPE.search(head):  # once more, as the head may have changed
                head = head[: found.start()] + b" " + known_type(found[0], form).strip() + head[found.end() :]
            writer.write(head + form)
            await _copy(reader, writer, (length or 0) - len(form))
        await _copy(reader, writer)
        writer.write_eof()


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
