"""One JSON line per scored clip: what drift is measured on. Never audio, never headers."""

import json
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from masd.detection.result import ClipScore

LOG_VARIABLE = "MASD_INFERENCE_LOG"
"""Environment variable that names the folder of the inference log; unset or empty means no log."""

PROBE_PREFIX = "masd-probe-"
"""A ``request_id`` that starts so is a health check: answered like any other, but it is no machine's sound to log."""

logger = logging.getLogger(__name__)


class InferenceLog:
    """Appends to ``<folder>/<machine>-<pid>.jsonl``: a file per process, so that workers never interleave lines.

    The file is opened for each write: it may be moved away (rotated, collected) at any time. A log that cannot be
    written costs its rows and one warning, never an answer.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        self.path = folder / f"{machine}-{os.getpid()}.jsonl"
        self._warned = False

    def write(self, scores: Iterable[tuple[str | None, ClipScore]]) -> None:
        """Append one row for each ``(request_id, score)``, except for probes."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            json.dumps({"time": time, "request_id": request_id, **score.to_record()}) + "\n"
            for request_id, score in scores
            if not (request_id or "").startswith(PROBE_PREFIX)
        ]
        if not rows:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(rows)
        except OSError as error:
            if not self._warned:
                logger.warning("inference log %s cannot be written: %s; answers go on", self.path, error)
            self._warned = True
