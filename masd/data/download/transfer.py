"""Download one archive: resume it, check its size and digest, then rename it."""

import hashlib
import http.client
import re
import urllib.error
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from masd.data.download.zenodo import Archive, Server, patiently
from masd.errors import MasdError

CHUNK_BYTES = 1 << 20

Report = Callable[[int], None]
"""Called with the number of bytes of the archive on the disk."""


def partial(path: Path) -> Path:
    """The file of an incomplete archive."""
    return path.with_name(f"{path.name}.part")


def size_on_disk(path: Path) -> int:
    """Bytes of an archive that were downloaded already."""
    return next((file.stat().st_size for file in (path, partial(path)) if file.exists()), 0)


def download(server: Server, archive: Archive, path: Path, report: Report) -> None:
    """Download ``archive`` to ``path``, continuing ``<path>.part`` of an earlier attempt.

    :raises MasdError: no connection, another host, or bytes that do not match the record.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _verify(path, archive)
    else:
        part = partial(path)
        patiently(lambda: _transfer(server, archive, part, report), archive.url)
        _verify(part, archive)
        part.replace(path)
    report(archive.size)


def _transfer(server: Server, archive: Archive, part: Path, report: Report) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > archive.size:  # of another file: the record tells the size
        part.unlink()
        have = 0
    if have == archive.size:
        return
    try:
        answer = server.open(archive.url, have)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        part.unlink(missing_ok=True)
        raise ConnectionError("the server cannot resume a download") from error
    with answer:
        start, total = _offered(answer)
        if total not in (None, archive.size):
            part.unlink(missing_ok=True)
            raise MasdError(f"{archive.url}: has {total} bytes, its record says {archive.size}; try again later")
        if start not in (0, have):
            part.unlink(missing_ok=True)
            raise ConnectionError("the server resumed at the wrong position")
        have = start
        with part.open("ab" if have else "wb") as file:  # a server that ignores ranges starts again
            while chunk := answer.read(CHUNK_BYTES):
                have += len(chunk)
                if have > archive.size:
                    break
                file.write(chunk)
                report(have)
    if have > archive.size:
        part.unlink()
        raise MasdError(
            f"{archive.url}: the server sends more than the {archive.size} bytes of its record; try again later, or "
            "use "
            "another mirror"
        )
    if have < archive.size:
        raise ConnectionError(f"the connection ended after {have} of {archive.size} bytes")


def _offered(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The position at which the answer starts and the length of the whole file, if the server states them."""
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        return (int(place[1]), int(place[2])) if place else (-1, None)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _verify(path: Path, archive: Archive) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != archive.md5:
        path.unlink()
        raise MasdError(
            f"{archive.url}: damaged in transfer: its MD5 is {digest}, the record says {archive.md5}; the file was "
            "removed; run the same command again"
        )
