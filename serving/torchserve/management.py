"""TorchServe's management API: which versions are loaded, load one, make it the default, unload it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx

from masd.errors import MasdError
from serving.client import Token, bearer

ANSWER_SECONDS = 30.0
"""It is late while it unpacks archives, on a busy machine."""

REREAD_SECONDS = 1.0
"""A key is asked for with every request; the file is looked at so often."""

UNLOAD_SECONDS = 60.0
"""TorchServe answers only when the archive is unpacked, or when the workers of the version have ended."""


class ManagementError(MasdError):
    """TorchServe refused, or could not be reached."""


@dataclass(frozen=True)
class Loaded:
    """One version that TorchServe holds: whether requests without a version go to it, and whether a worker is up.

    ``workers`` is how many it shall have, ``pids`` are the processes of those that are up, and ``names`` what a shared
    process calls their threads.
    """

    version: str
    default: bool
    ready: bool
    workers: int = 1
    pids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def default_of(loaded: Mapping[str, Loaded]) -> Loaded | None:
    """The version that requests without a version go to."""
    return next((entry for entry in loaded.values() if entry.default), None)


class KeyFile:
    """The keys of TorchServe's token mode, which it writes to a file when it starts."""

    def __init__(self, path: Path, management_url: str) -> None:
        self.path = path
        self._url = management_url
        self._known: dict[str, tuple[str, float]] = {}

    def inference(self) -> str:
        """The current key for requests; one that has ended is renewed first, and everybody has to read the new one.

        :raises ManagementError: there is no such file yet, or TorchServe does not renew.
        """
        return self._current("inference")

    def management(self) -> str:
        """The same for the management API."""
        return self._current("management")

    def _current(self, kind: Literal["inference", "management"]) -> str:
        key, until = self._known.get(kind, ("", 0.0))
        if time.monotonic() >= until:
            key = self._read_current(kind)
            self._known[kind] = (key, time.monotonic() + REREAD_SECONDS)
        return key

    def _read_current(self, kind: Literal["inference", "management"]) -> str:
        keys = self._read()
        if datetime.fromisoformat(keys[kind]["expiration time"]) <= datetime.now(UTC):
            renewing = Management(self._url, keys["API"]["key"])
            renewing.renew(kind)
            renewing.close()
            keys = self._read()
        return str(keys[kind]["key"])

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            content: dict[str, dict[str, str]] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ManagementError(
                f"{self.path}: contains no keys of TorchServe; name its key_file.json with --key-file"
            ) from error
        return content


class Management:
    """Of one TorchServe, at ``url``; ``token`` is the management key where token authorisation is on."""

    def __init__(self, url: str, token: Token = None) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, auth=bearer(token), timeout=ANSWER_SECONDS, trust_env=False)

    def loaded(self, machine: str) -> dict[str, Loaded]:
        """Version -> its state; empty where the machine has none."""
        path = f"/models/{quote(machine)}"
        default = self._call("GET", path, accept=(404,))  # which describes the default version, and no other
        if default.status_code == 404:
            return {}
        described = self._call("GET", f"{path}/all").json()
        return {entry["modelVersion"]: _loaded(entry, default.json()[0]["modelVersion"]) for entry in described}

    def register(self, file: str, workers: int | None = None) -> None:
        """Take the archive ``file`` of the model store and start its workers, without waiting for them.

        None leaves their number to the server's ``default_workers_per_model``.
        """
        number = {} if workers is None else {"initial_workers": str(workers)}
        params = {"url": file, "synchronous": "false", **number}
        self._call("POST", "/models", params=params, timeout=UNLOAD_SECONDS)

    def scale(self, machine: str, version: str, workers: int) -> None:
        """Have a version keep so many workers from now on; does not wait for them."""
        number = {"min_worker": str(workers), "max_worker": str(workers)}
        self._call("PUT", f"/models/{quote(machine)}/{quote(version)}", params=number)

    def set_default(self, machine: str, version: str) -> None:
        """Requests that name no version go to this one from now on; those already accepted keep their version."""
        self._call("PUT", f"/models/{quote(machine)}/{quote(version)}/set-default")

    def unregister(self, machine: str, version: str) -> None:
        """Unload a version; no error where it is not there."""
        path = f"/models/{quote(machine)}/{quote(version)}"
        self._call("DELETE", path, accept=(404,), timeout=UNLOAD_SECONDS)

    def renew(self, kind: str) -> None:
        """Have the key file written anew, with another key of this kind; needs the file's API key as the token."""
        self._call("GET", "/token", params={"type": kind})

    def close(self) -> None:
        """Close the connections that were kept for the next call."""
        self._http.close()

    def _call(self, method: str, path: str, accept: tuple[int, ...] = (), **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise ManagementError(
                f"no answer from TorchServe at {self.url}: {error or type(error).__name__}"
            ) from error
        if response.is_success or response.status_code in accept:
            return response
        try:
            message = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = response.reason_phrase
        raise ManagementError(f"TorchServe at {self.url} answered {response.status_code} to {method} {path}: {message}")


def _loaded(entry: Mapping[str, Any], default: str) -> Loaded:
    up = [worker for worker in entry["workers"] if worker["status"] == "READY"]
    return Loaded(
        entry["modelVersion"],
        entry["modelVersion"] == default,
        bool(up),
        entry["minWorkers"],
        tuple(worker["pid"] for worker in up),
        tuple(f"W-{worker['id']}" for worker in up),
    )
