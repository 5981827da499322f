"""Score a clip over HTTP, with the standard library."""

import http.client
import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from masd.errors import MasdError


class ScoringClient:
    """Blocking client of one server; safe to share between threads, as each call has a connection of its own.

    Connects directly: proxies named in the environment are not used.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        """``url`` is the inference address, for example ``http://127.0.0.1:8080``; ``timeout`` in seconds."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MasdError(f"'{url}' is not the address of a server, such as http://127.0.0.1:8080")
        self._url = url
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._address = (parts.hostname, parts.port)
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout

    def score(
        self,
        machine: str,
        clip: Path | bytes,
        threshold: float | None = None,
        request_id: str | None = None,
    ) -> dict[str, Any]:
        """The server's answer for one clip, an audio file or its bytes.

        :raises MasdError: the clip cannot be read, the server cannot be reached, or its own words on what was wrong.
        """
        try:
            audio = clip.read_bytes() if isinstance(clip, Path) else clip
        except OSError as error:
            raise MasdError(f"cannot read {clip!s}: {error.strerror}") from error
        fields = {} if threshold is None else {"threshold": repr(float(threshold))}
        if request_id is not None:
            fields["request_id"] = request_id
        content_type, body = _multipart(audio, fields)
        return self._post(f"/predictions/{quote(machine, safe='')}", content_type, body)

    def _post(self, path: str, content_type: str, body: bytes) -> dict[str, Any]:
        connection = self._connection(*self._address, timeout=self._timeout)
        try:
            connection.request("POST", self._prefix + path, body, {"Content-Type": content_type})
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise MasdError(f"no answer from {self._url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        answer = _object(text)
        if status != 200:
            # "detail" is masd's and "message" TorchServe's own; some of TorchServe's errors have no body
            reason = answer.get("detail") or answer.get("message") or response.reason
            raise MasdError(f"{self._url}{path} answered {status}: {reason}")
        return answer


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _multipart(audio: bytes, fields: dict[str, str]) -> tuple[str, bytes]:
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = 'Content-Disposition: form-data; name="data"; filename="clip"\r\nContent-Type: application/octet-stream'
    parts += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), audio, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)
