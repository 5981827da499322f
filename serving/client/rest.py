"""Score a clip over HTTP: one client that blocks and one for asyncio, with the same calls and the same patience."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from masd.errors import MasdError

RETRIED = (500, 503, 507)
"""A busy, restarting or short-of-memory server. A 4xx would be the same the next time, so it never is sent again."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0


Token = str | Callable[[], str] | None


def bearer(token: Token) -> Callable[[httpx.Request], httpx.Request] | None:
    """httpx's ``auth`` for a token."""
    if token is None:
        return None

    def authorise(request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token() if callable(token) else token}"
        return request

    return authorise


class ScoringError(MasdError):
    """What the server said was wrong: HTTP ``status`` and ``error``, its machine-readable name.

    Both are None where no answer came.
    """

    def __init__(self, message: str, status: int | None = None, error: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class _Calls:
    """What both clients send and how they read the answer; they differ only in how they wait."""

    def __init__(self, url: str, timeout: float = 30.0, *, token: Token = None, retries: int = 4) -> None:
        """``url`` is the inference address, such as ``http://127.0.0.1:8080``.

        :param timeout: seconds for each part of an attempt: to connect, to send, and for the answer to begin.
        :param token: sent as ``Authorization: Bearer``; a function is asked for it each time, for tokens that expire.
        :param retries: how often a request is sent again after a 500, 503, 507 or no answer at all. The pause before
            doubles from 0.2 to 5 s, less up to a half at random, so that clients do not come back all at once.

        Connects directly: proxies named in the environment are not used.
        """
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:
            parts = httpx.URL("")
        if parts.scheme not in ("http", "https") or not parts.host:
            raise MasdError(f"'{url}' is not the address of a server, such as http://127.0.0.1:8080")
        self._url = url.rstrip("/")
        self._retries = retries
        self._options: dict[str, Any] = {
            "timeout": timeout,
            "trust_env": False,
            "auth": bearer(token),
        }

    def _request(
        self, kind: str, machine: str, version: str | None, clip: Path | bytes, fields: dict[str, Any]
    ) -> dict[str, Any]:
        """Arguments of httpx's ``request`` for a form with the clip and those of ``fields`` that are not None."""
        return {
            "method": "POST",
            "url": "/".join([self._url, kind, *(quote(part, safe="") for part in (machine, version) if part)]),
            "files": {"data": ("clip", encoded(clip), "application/octet-stream")},
            "data": {name: str(value) for name, value in fields.items() if value is not None},
        }

    def _pause(self, attempt: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to wait before sending again, or None where the outcome stands."""
        if isinstance(outcome, httpx.Response) and outcome.status_code not in RETRIED:
            return None
        if attempt >= self._retries:
            return None
        pause = min(FIRST_PAUSE_SECONDS * 2.0**attempt, LONGEST_PAUSE_SECONDS)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  spreads clients over time, keeps no secret

    def _answer(self, outcome: httpx.Response | httpx.TransportError) -> dict[str, Any]:
        if isinstance(outcome, httpx.TransportError):
            raise ScoringError(
                f"no answer from {self._url}: {str(outcome) or type(outcome).__name__}; check the address, and that "
                "masd serve runs"
            ) from outcome
        answer = _object(outcome)
        if outcome.status_code != 200:
            # "detail" is masd's and "message" TorchServe's own; some of TorchServe's errors have no body
            reason = answer.get("detail") or answer.get("message") or outcome.reason_phrase
            path = outcome.request.url.path
            message = f"{self._url}{path} answered {outcome.status_code}: {reason}"
            raise ScoringError(message, outcome.status_code, answer.get("error"))
        return answer


def encoded(clip: Path | bytes) -> bytes:
    """The bytes of a clip, an audio file or its bytes.

    :raises MasdError: it cannot be read.
    """
    try:
        return clip.read_bytes() if isinstance(clip, Path) else clip
    except OSError as error:
        raise MasdError(f"cannot read {clip!s}: {error.strerror}") from error


class ScoringClient(_Calls):
    """Blocking client of one server; may be shared between threads. Close it, or use it in a ``with`` block."""

    def __init__(self, url: str, timeout: float = 30.0, *, token: Token = None, retries: int = 4) -> None:
        super().__init__(url, timeout, token=token, retries=retries)
        self._http = httpx.Client(**self._options)

    def score(
        self,
        machine: str,
        clip: Path | bytes,
        threshold: float | None = None,
        request_id: str | None = None,
        top_segments: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """The server's answer for one clip, an audio file or its bytes.

        :param top_segments: how many segments the answer shall have at most, the most unusual ones.
        :param version: a version of the model that is loaded, instead of the one in production.
        :raises ScoringError: the server cannot be reached, or its own words on what was wrong.
        :raises MasdError: the clip cannot be read.
        """
        fields = {"threshold": threshold, "request_id": request_id, "top_segments": top_segments}
        return self._send(self._request("predictions", machine, version, clip, fields))

    def explain(
        self, machine: str, clip: Path | bytes, threshold: float | None = None, request_id: str | None = None
    ) -> dict[str, Any]:
        """As :meth:`score`, with what in the clip was unusual."""
        fields = {"threshold": threshold, "request_id": request_id}
        return self._send(self._request("explanations", machine, None, clip, fields))

    def close(self) -> None:
        """Close the connections that were kept for the next call."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.request(**request)
            except httpx.TransportError as error:
                outcome = error
            pause = self._pause(attempt, outcome)
            if pause is None:
                return self._answer(outcome)
            time.sleep(pause)
            attempt += 1


class AsyncScoringClient(_Calls):
    """The same for asyncio; use it in an ``async with`` block. One client serves any number of tasks."""

    def __init__(self, url: str, timeout: float = 30.0, *, token: Token = None, retries: int = 4) -> None:
        super().__init__(url, timeout, token=token, retries=retries)
        self._http = httpx.AsyncClient(**self._options)

    async def score(
        self,
        machine: str,
        clip: Path | bytes,
        threshold: float | None = None,
        request_id: str | None = None,
        top_segments: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """See :meth:`ScoringClient.score`."""
        fields = {"threshold": threshold, "request_id": request_id, "top_segments": top_segments}
        return await self._send(self._request("predictions", machine, version, clip, fields))

    async def explain(
        self, machine: str, clip: Path | bytes, threshold: float | None = None, request_id: str | None = None
    ) -> dict[str, Any]:
        """See :meth:`ScoringClient.explain`."""
        fields = {"threshold": threshold, "request_id": request_id}
        return await self._send(self._request("explanations", machine, None, clip, fields))

    async def close(self) -> None:
        """Close the connections that were kept for the next call."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.request(**request)
            except httpx.TransportError as error:
                outcome = error
            pause = self._pause(attempt, outcome)
            if pause is None:
                return self._answer(outcome)
            await asyncio.sleep(pause)
            attempt += 1


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
