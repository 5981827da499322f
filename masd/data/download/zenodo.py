"""A Zenodo server: one host, the files of a record, and retries."""

import http.client
import json
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import IO, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, PositiveInt, TypeAdapter

from masd.data.download.catalogue import machine_of
from masd.errors import MasdError

URL_VARIABLE = "MASD_ZENODO_URL"
PUBLIC_URL = "https://zenodo.org"
TIMEOUT_S = 60.0
WAITS_S = (1.0, 2.0, 4.0)  # between attempts
LONGEST_WAIT_S = 60.0  # what a server may ask for with Retry-After

_FILE_NAME = re.compile(r"\w[\w.-]*\.zip", re.ASCII)
_MD5 = re.compile(r"md5:([0-9a-f]{32})")
_BROKEN_LINE = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)  # not OSError: a full disk does not get better by trying again

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Archive:
    """One zip file of a record; ``size`` in bytes, ``md5`` in hex."""

    name: str
    machine: str
    url: str
    size: int
    md5: str


class _File(BaseModel):
    """A file of a record; see developers.zenodo.org."""

    key: str
    size: PositiveInt
    checksum: str
    links: dict[str, str]


_FILES = TypeAdapter(list[_File])


class Server:
    """Zenodo, or the mirror that ``MASD_ZENODO_URL`` names. No other host is contacted, whatever an answer says.

    :raises MasdError: the address is not http or https.
    """

    def __init__(self) -> None:
        self.base = os.environ.get(URL_VARIABLE, PUBLIC_URL).rstrip("/")
        scheme, self._host = _scheme_and_host(self.base)
        if scheme not in ("http", "https") or not self._host:
            raise MasdError(f"{self.base}: not an address of a Zenodo server; set {URL_VARIABLE} to https://host")
        self._schemes = {"https", scheme}  # never from https down to http
        self._opener = urllib.request.build_opener(_Redirects(self._check))

    def open(self, url: str, start: int = 0) -> http.client.HTTPResponse:
        """Request a file's bytes from ``start`` on; the caller closes the answer.

        :raises MasdError: the address or a redirect names another host.
        """
        self._check(url)
        headers = {"User-Agent": "masd"} | ({"Range": f"bytes={start}-"} if start else {})
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the scheme is checked above
        try:
            answer: http.client.HTTPResponse = self._opener.open(request, timeout=TIMEOUT_S)
        except ValueError as error:
            raise MasdError(f"{url}: redirects to an address that is not valid ({error})") from error
        return answer

    def archives(self, record: int) -> list[Archive]:
        """The zip files of a record, by name.

        :raises MasdError: no connection, no such record, or an invalid answer.
        """
        url = f"{self.base}/api/records/{record}"

        def read() -> bytes:
            with self.open(url) as answer:
                return answer.read()

        text = patiently(read, url)
        try:
            files = _FILES.validate_python(json.loads(text)["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise MasdError(f"{url}: not a record with a list of files; is this a Zenodo server?") from error
        archives = [_archive(file, url) for file in files if file.key.lower().endswith(".zip")]
        if not archives:
            raise MasdError(f"{url}: the record has no zip files")
        return sorted(archives, key=lambda archive: archive.name)

    def _check(self, url: str, source: str = "") -> None:
        scheme, host = _scheme_and_host(url)
        if host != self._host or scheme not in self._schemes:
            raise MasdError(
                f"{source or self.base}: refers to {url}, which is refused: only {self._host} is allowed, over "
                f"{' or '.join(sorted(self._schemes))}; the links of a mirror must lead to the mirror itself"
            )


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, check: Callable[[str, str], None]) -> None:
        self._check = check

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        self._check(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or ""
    except ValueError:  # such as http://[
        return "", ""


def _archive(file: _File, record: str) -> Archive:
    digest = _MD5.fullmatch(file.checksum)
    if not _FILE_NAME.fullmatch(file.key) or not digest or "self" not in file.links:
        raise MasdError(
            f"{record}: its entry {file.key!r} lacks a plain file name, an MD5 checksum or a link; use another mirror "
            "(MASD_ZENODO_URL)"
        )
    return Archive(file.key, machine_of(file.key), file.links["self"], file.size, digest[1])


def patiently(work: Callable[[], Result], url: str) -> Result:
    """Repeat ``work`` a few times, with growing pauses, if the connection breaks or the server is busy.

    :raises MasdError: the last failure, or the first one that another try cannot repair.
    """
    waits = iter(WAITS_S)
    while True:
        try:
            return work()
        except urllib.error.HTTPError as error:
            error.close()
            said = f"{url}: the server answered {error.code} {error.reason}"
            busy = error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            if not busy:
                raise MasdError(f"{said}; open it in a browser to see why") from error
            asked = error.headers.get("Retry-After") or ""
            least = min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else 0.0
            failure: Exception = error
        except _BROKEN_LINE as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            said, least, failure = f"{url}: {reason or type(error).__name__}", 0.0, error
        wait = next(waits, None)
        if wait is None:
            raise MasdError(f"{said}; run the same command again later: it continues where it stopped") from failure
        log.warning("%s; trying again", said)
        time.sleep(max(wait, least))
