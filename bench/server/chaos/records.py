"""Where the records of answered clips are: in the log in the bucket, or still in the spool."""

import fcntl
import os
import re
import secrets
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pandas as pd

from masd.storage.opening import open_store

_OPEN = re.compile(r"(.+)-\d+\.jsonl")
_ID = re.compile(r'"request_id": "([^"]+)"')


def seal(spool: Path) -> None:
    """Seal what workers have written so far, as the server does every five minutes: an hour's uploads in some minutes.

    Under the same lock as the workers, and by the same name (docs/operating-the-server.md).
    """
    for path in spool.iterdir():
        if (match := _OPEN.fullmatch(path.name)) is None:
            continue
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # the server has sealed it just now
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file)):
                path.rename(spool / f"{match[1]}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.sealed")
        finally:
            os.close(file)


def recorded(log: str, spool: Path) -> tuple[set[str], set[str]]:
    """Request ids of the records that were shipped, and of those that wait or were set aside in the spool."""
    store = open_store(log)
    shipped: set[str] = set()
    for item in store.list():
        if item.key.endswith(".parquet"):
            shipped.update(pd.read_parquet(BytesIO(store.read(item.key)), columns=["request_id"])["request_id"])
    waiting: set[str] = set()
    for file in spool.iterdir():
        if file.is_file():
            waiting.update(_ID.findall(file.read_text(encoding="utf-8", errors="replace")))
    return shipped, waiting
