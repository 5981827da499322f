"""One JSON line per scored clip: what drift is measured on. Never audio, never headers.

A worker only appends to a local file, before it answers; :mod:`serving.log_shipper` takes the files away.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from masd.detection.result import ClipScore
from masd.files import json_text

LOG_VARIABLE = "MASD_INFERENCE_LOG"
"""Environment variable that names the folder the workers write to; unset or empty means no log."""

PROBE_PREFIX = "masd-probe-"
"""A ``request_id`` that starts so is a health check: answered like any other, but it is no machine's sound to log."""

SEALED = ".sealed"
"""The suffix of a file that no worker writes to any more and that waits to be taken away."""

LIMIT_BYTES = 256 * 2**20
"""Largest size of the records that wait, some 600,000 clips: beyond it new records are dropped and counted."""

MEASURE_SECONDS = 1.0

KEPT_BYTES = 4 * 2**20
"""Largest size of the records that a process keeps in memory for a machine while they cannot be written, some 10,000
clips: beyond it new records are dropped and counted."""

RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class InferenceLog:
    """Appends to ``<folder>/<machine>-<pid>.jsonl``: a file per process, so that workers never interleave lines.

    One ``write`` a batch, to the page cache: a record is safe from the death of any process, not from a power cut. What
    cannot be written, as the disk is full, is kept in memory and written once it can be. A log that cannot be written
    costs one warning, and records once it has too many, but never an answer.
    """

    def __init__(self, folder: Path, machine: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = folder / f"{machine}-{os.getpid()}.jsonl"
        self._dropped = 0
        self._limit_bytes = limit_bytes
        self._measured = (-MEASURE_SECONDS, 0)
        self._warned = False
        self._lock = threading.Lock()
        self._kept: list[bytes] = []

    def write(self, scores: Iterable[tuple[str | None, ClipScore]]) -> None:
        """Append one row for each ``(request_id, score)``."""
        time_text = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            json_text({"time": time_text, "request_id": request_id, **score.to_record()}) + "\n"
            for request_id, score in scores
        ]
        if not rows:
            return
        if self.waiting_bytes() >= self._limit_bytes:
            self._warn(
                f"{self._limit_bytes} bytes of records already wait in {self.path.parent}, which is the limit; new "
                "records "
                "are lost until the log can be written"
            )
            self._dropped += len(rows)
            return
        with self._lock:
            retried = bool(self._kept)
            self._kept += [row.encode() for row in rows]
            try:
                self._write_kept()
            except OSError as error:
                self._warn(str(error))
                while sum(map(len, self._kept)) > KEPT_BYTES:
                    self._kept.pop()
                    self._dropped += 1
                if not retried:
                    threading.Thread(target=self._retry, name="inference log", daemon=True).start()

    def take_dropped(self) -> int:
        """Records lost since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def waiting_bytes(self) -> int:
        """Bytes of all records of the folder that were not taken away yet; measured once a second."""
        measured, size = self._measured
        if time.monotonic() - measured >= MEASURE_SECONDS:
            size = _records_bytes(self.path.parent)
            self._measured = (time.monotonic(), size)
        return size

    def _write_kept(self) -> None:
        self._append(b"".join(self._kept))
        self._kept.clear()

    def _retry(self) -> None:
        """Until nothing is kept any more: there may be no further clip for a long time."""
        while self._kept:
            time.sleep(RETRY_SECONDS)
            with self._lock, suppress(OSError):
                self._write_kept()

    def _append(self, text: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with locked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                if file is None:
                    continue
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    text = b"\n" + text  # a process of this number was killed in the middle of a line
                if os.write(file, text) != len(text):
                    os.ftruncate(file, size)
                    raise OSError("no space left for a whole record")
                return

    def _warn(self, reason: str) -> None:
        if not self._warned:
            logger.warning("inference log %s cannot be written: %s; clips are still scored", self.path, reason)
        self._warned = True


@contextmanager
def locked(path: Path, flags: int) -> Iterator[int | None]:
    """A descriptor of the file, which nobody renames or writes meanwhile; None if it was renamed before we had it.

    So a line is never written to a file that was already read and taken away.

    :raises OSError: it cannot be opened.
    """
    file = os.open(path, flags, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file if _is(path, file) else None
    finally:
        os.close(file)


def _records_bytes(folder: Path) -> int:
    """Size of all records in a folder, whoever wrote them; 0 where there is none. What was set aside does not count."""
    try:
        with os.scandir(folder) as entries:
            own = [entry for entry in entries if entry.name.endswith((".jsonl", SEALED)) and entry.is_file()]
            return sum(entry.stat().st_size for entry in own)
    except OSError:
        return 0


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
