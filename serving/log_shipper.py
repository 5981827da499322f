"""The workers' log files -> Parquet in a folder or a bucket: sealed by a rename, written, and only then removed.

An object is named after the sealed file it was made from. Whenever this process is killed, the next one finds the
file again and writes the same object with the same rows: none is lost, and none is there twice. A file is removed only
after its object was read back: a proxy before a bucket may say 200 to a write that never came there.
"""

import json
import os
import secrets
import sys
import tempfile
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from masd.errors import MasdError, one_line
from masd.storage.opening import folder_of
from masd.storage.protocol import ObjectStore, StoreError
from serving.background import Loop
from serving.worker.inference_log import locked

SEALED = ".sealed"
ROTATE_BYTES = 8 * 2**20
ROTATE_SECONDS = 300.0
STEP_SECONDS = 2.0
FINAL_SECONDS = 2.0
"""For what is left when a server stops; what does not make it waits for the next start."""


def check_writable(spool: Path | None, log_url: str | None) -> None:
    """Try the folders that records go to, before a server starts. A bucket is not tried: records wait while it is away.

    :raises MasdError: a folder that cannot be written, as the one of a volume that belongs to another user.
    """
    folders = [] if spool is None else [spool]
    if log_url is not None and not log_url.startswith("s3://"):
        folders.append(folder_of(log_url))
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise MasdError(
                f"inference log folder {folder} cannot be written: {error.strerror}; let user {os.geteuid()} write it"
            ) from error


class LogShipper:
    """Takes the files of one folder, which any number of workers write to, to one store.

    A file is sealed when it has ``rotate_bytes`` or was first seen ``rotate_seconds`` ago; what an earlier process
    left behind is sealed at once.
    """

    def __init__(
        self,
        folder: Path,
        store: ObjectStore,
        rotate_bytes: int = ROTATE_BYTES,
        rotate_seconds: float = ROTATE_SECONDS,
    ) -> None:
        self._folder = folder
        self._store = store
        self._rotate_bytes = rotate_bytes
        self._rotate_seconds = rotate_seconds
        self._seen = {path.name: float("-inf") for path in folder.glob("*.jsonl")}

    def loop(self) -> Loop:
        """The loop that ships, and everything once more at its end."""
        return Loop("inference log", self.step, STEP_SECONDS, last=lambda: self.step(everything=True))

    def step(self, *, everything: bool = False) -> None:
        """Seal what is due (or everything), and ship what is sealed.

        :raises MasdError: the store or the disk fails: what waits is tried again by the next step.
        """
        unexpected: Exception | None = None
        try:
            self._seal(everything)
            for path in sorted(self._folder.glob(f"*{SEALED}")):
                try:
                    self._ship(path)
                except (StoreError, OSError):
                    raise
                except Exception as error:  # of this file or this answer: the next may go well
                    unexpected = error
        except (StoreError, OSError) as error:
            raise MasdError(f"{error}; records wait in {self._folder}") from error
        if unexpected is not None:
            told = f"{type(unexpected).__name__}: {one_line(unexpected, 160)}"
            raise MasdError(f"{told}; records wait in {self._folder}") from unexpected

    def _seal(self, everything: bool) -> None:
        now = time.monotonic()
        for path in self._folder.glob("*.jsonl"):
            first_seen = self._seen.setdefault(path.name, now)
            old = now - first_seen >= self._rotate_seconds
            if not (everything or old or path.stat().st_size >= self._rotate_bytes):
                continue
            machine = path.stem.rpartition("-")[0]
            name = f"{machine}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{SEALED}"
            with locked(path, os.O_RDWR) as file:
                if file is not None:
                    path.rename(self._folder / name)
            del self._seen[path.name]

    def _ship(self, path: Path) -> None:
        machine, sealed_at, _ = path.stem.rsplit("-", 2)
        rows, torn = _rows(path)
        if torn:
            print(f"masd: inference log {path}: {torn} torn lines left out", file=sys.stderr, flush=True)
        if rows:
            content = BytesIO()
            try:
                pd.DataFrame(rows).astype({"request_id": "string"}).to_parquet(content, index=False)
            except (KeyError, TypeError, ValueError) as error:  # not what our workers write: kept, but in nobody's way
                kept = path.rename(path.with_suffix(".unshipped"))
                reason = one_line(error, 160)
                print(f"masd: inference log {kept}: no table of records ({reason})", file=sys.stderr, flush=True)
                return
            day = f"{sealed_at[:4]}-{sealed_at[4:6]}-{sealed_at[6:8]}"
            self._write(f"{machine}/{day}/{path.stem}.parquet", content.getvalue())
        path.unlink(missing_ok=True)

    def _write(self, key: str, content: bytes) -> None:
        """:raises StoreError: what the store holds then is not ``content``, whatever it has said."""
        self._store.write(key, content)
        if self._store.read(key) != content:
            raise StoreError(f"{self._store.url}: {key} is not what was written there")


def _rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Records of a sealed file, and how many lines are none: a worker that is killed leaves half a line."""
    rows, torn = [], 0
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.strip():
            torn += 1
    return rows, torn
