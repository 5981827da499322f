"""The workers' log files -> Parquet in a folder or a bucket: sealed by a rename, written, and only then removed.

An object is named after the sealed file it was made from. Whenever this process is killed, the next one finds the
file again and writes the same object with the same rows: none is lost, and none is there twice. A file is removed only
after its object was read back: a proxy before a bucket may say 200 to a write that never came there.
"""

import os
import secrets
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from masd.errors import MasdError, described
from masd.progress import print_line
from masd.storage.opening import folder_of
from masd.storage.protocol import ObjectStore, StoreError
from serving.background import Loop
from serving.spool import SpoolFile, open_files, records_of, sealed_files, set_aside
from serving.worker.inference_log import SEALED, locked

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
                f"inference log folder {folder} cannot be written: {error.strerror}; give user {os.geteuid()} write "
                "access"
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
        self._seen = {file.path.name: float("-inf") for file in open_files(folder)}

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
            for file in sealed_files(self._folder):
                try:
                    self._ship(file)
                except (StoreError, OSError):
                    raise
                except Exception as error:  # of this file or this answer: the next may go well
                    unexpected = error
        except (StoreError, OSError) as error:
            raise MasdError(f"{error}; records wait in {self._folder} until they can be written") from error
        if unexpected is not None:
            raise MasdError(f"{described(unexpected, 160)}; records wait in {self._folder}") from unexpected

    def _seal(self, everything: bool) -> None:
        now = time.monotonic()
        for path, machine in ((file.path, file.machine) for file in open_files(self._folder)):
            first_seen = self._seen.setdefault(path.name, now)
            old = now - first_seen >= self._rotate_seconds
            if not (everything or old or path.stat().st_size >= self._rotate_bytes):
                continue
            name = f"{machine}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{SEALED}"
            with locked(path, os.O_RDWR) as file:
                if file is not None:
                    path.rename(self._folder / name)
            del self._seen[path.name]

    def _ship(self, file: SpoolFile) -> None:
        records = records_of(file.path)
        if records.bad:
            kept = set_aside(file.path, records.bad)
            lines = (
                "line is not a valid record and is" if len(records.bad) == 1 else "lines are not valid records and are"
            )
            print_line(f"masd: inference log: {len(records.bad)} {lines} kept in {kept}")
        if records.parquet is not None:
            self._write(file.key, records.parquet)
        file.path.unlink(missing_ok=True)

    def _write(self, key: str, content: bytes) -> None:
        """:raises StoreError: what the store holds then is not ``content``, whatever it has said."""
        self._store.write(key, content)
        if self._store.read(key) != content:
            raise StoreError(
                f"{self._store.url}: {key} was stored with wrong content; check the bucket, or the proxy before it"
            )
