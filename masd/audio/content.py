"""The bytes of a recording, from a file or memory, as the file object that libsndfile reads."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from masd.audio.wav_header import Bytes, Layout

Encoded = bytes | bytearray | memoryview
"""An encoded recording in memory; it is not copied."""

MOST_PIPED = 2**32
"""The most bytes taken from something that is not a regular file, such as a pipe, which can be read only once."""


def in_memory_unless_regular(source: Path | Encoded) -> Path | Encoded:
    """A regular file is not read yet; a pipe or device is read to its end.

    :raises OSError: it cannot be read, or does not end.
    """
    if not isinstance(source, Path):
        return source
    with source.open("rb", buffering=0) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return source
        content = bytearray()
        while part := file.read(1 << 20):
            content += part
            if len(content) > MOST_PIPED:
                raise OSError(f"it is a pipe or a device with more than {MOST_PIPED} bytes; save it to a file first")
    return content


@contextmanager
def opened(source: Path | Encoded) -> Iterator[Bytes]:
    """:raises OSError: the file cannot be opened."""
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as file:
            yield _File(file.fileno())
    else:
        with memoryview(source) as view:  # released at the end: whoever owns the bytes may let go of them then
            yield _Memory(view)


class _Memory:
    def __init__(self, view: memoryview) -> None:
        self._view = view

    @property
    def size(self) -> int:
        return len(self._view)

    def read_at(self, offset: int, count: int) -> bytes:
        return bytes(self._view[offset : offset + count])


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, offset)


class LaidOut(io.RawIOBase):
    """Content behind the header that its layout gives it.

    It is read from a C library, whose callbacks print what they raise: so a failed read ends the file, and ``failure``
    has the reason; and a seek to before the beginning stays where it is.
    """

    def __init__(self, content: Bytes, layout: Layout) -> None:
        self._content, self._prefix, self._start = content, layout.prefix, layout.start
        self._size = len(layout.prefix) + content.size - layout.start
        self._at = 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            if self._at < len(self._prefix):
                part = self._prefix[self._at : self._at + len(buffer)]
            else:
                part = self._content.read_at(self._at - len(self._prefix) + self._start, len(buffer))
        except OSError as error:
            self.failure = error
            return 0
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        if 0 <= target < 2**63:
            self._at = target
        return self._at
