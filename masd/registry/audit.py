"""The audit trail of one machine: one small object per decision, never changed."""

import getpass
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from masd.errors import MasdError, one_line
from masd.files import json_text
from masd.storage.protocol import ObjectStore

Event = Literal["register", "promote", "rollback", "refuse", "ask", "prune"]
MOVES: tuple[Event, ...] = ("promote", "rollback")
"""The events that move the production pointer."""

_STAMP = "%Y%m%dT%H%M%S.%f"
_NAME = re.compile(r"(?P<stamp>\d{8}T\d{6}\.\d{6})-(?P<event>[a-z]+)(?:-(?P<version>\d+)-[0-9a-f]+)?\.json")


@dataclass(frozen=True)
class RunDecision:
    """The decision of a pipeline run's gate, and its reason."""

    run: str
    decision: Literal["promote", "ask", "refuse"]
    reason: str


@dataclass(frozen=True)
class AuditRecord:
    """Who did what, when and why; ``previous`` and ``version`` are the versions of a pointer before and after.

    ``run``, ``decision`` and ``decision_reason`` are those of the :class:`RunDecision`, empty if a person acted.
    ``reason`` is a sentence for people. ``sums_sha256`` is the digest of the version's ``SHA256SUMS``, in the
    record of a registration.
    """

    event: Event
    machine_type: str
    version: str
    previous: str | None
    actor: str
    time: str
    reason: str
    metrics: dict[str, Any]
    run: str = ""
    decision: str = ""
    decision_reason: str = ""
    sums_sha256: str = ""


_ACTING: ContextVar[str] = ContextVar("acting", default="")


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Inside the block, records name ``actor``: for a process that acts for several people."""
    token = _ACTING.set(actor)
    try:
        yield
    finally:
        _ACTING.reset(token)


def current_actor() -> str:
    """The actor of :func:`acting_as`, else ``MASD_ACTOR`` (a service account, a CI job), else the user's name."""
    if actor := one_line(_ACTING.get() or os.environ.get("MASD_ACTOR", ""), 200):
        return actor
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry
        return f"uid-{os.getuid()}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class AuditTrail:
    """The records below ``models/<machine>/audit``, in the order of their names."""

    def __init__(self, store: ObjectStore, machine: str) -> None:
        self._store, self._machine = store, machine
        self._place = f"models/{machine}/audit"

    def add(
        self,
        event: Event,
        version: str,
        previous: str | None,
        reason: str,
        metrics: dict[str, Any] | None = None,
        gate: RunDecision | None = None,
        sums_sha256: str = "",
    ) -> str:
        """Write a record; returns its key.

        Its name sorts after all existing ones, even those of a computer whose clock is ahead.
        """
        by = (gate.run, gate.decision, gate.reason) if gate else ("", "", "")
        fields = (current_actor(), now(), one_line(reason), metrics or {}, *by, sums_sha256)
        record = AuditRecord(event, self._machine, version, previous, *fields)
        stamps = [datetime.strptime(str(self._part(key, "stamp")), _STAMP) for key in self._keys()[-1:]]
        stamp = max([datetime.now(UTC).replace(tzinfo=None), *(last + timedelta(microseconds=1) for last in stamps)])
        key = f"{self._place}/{stamp.strftime(_STAMP)}-{event}-{version}-{uuid4().hex[:8]}.json"
        self._store.write(key, (json_text(asdict(record), indent=2) + "\n").encode())
        return key

    def records(self, *events: Event) -> list[dict[str, Any]]:
        """All records, or those of some events, oldest first.

        Fields that records of masd 0.1.0 lack (``run``, ``decision``, ``decision_reason``, ``sums_sha256``) are empty.
        """
        keys = [key for key in self._keys() if not events or self._part(key, "event") in events]
        return [self._read(key) for key in keys]

    def versions(self, event: Event) -> set[str]:
        """Versions with a record of such an event; the records are not read."""
        found = {self._part(key, "version") for key in self._keys() if self._part(key, "event") == event}
        return {version for version in found if version}  # masd 0.1.0 did not name it

    def registered_sums(self, version: str) -> str:
        """The digest of ``SHA256SUMS`` with which a version was registered; empty if no record has it."""
        for key in self._keys():
            if (self._part(key, "event"), self._part(key, "version")) == ("register", version):
                return str(self._read(key)["sums_sha256"])
        return ""

    def _keys(self) -> list[str]:
        keys = [item.key for item in self._store.list(f"{self._place}/")]
        return [key for key in keys if _NAME.fullmatch(key.rpartition("/")[2])]

    def _part(self, key: str, part: str) -> str | None:
        found = _NAME.fullmatch(key.rpartition("/")[2])
        return found[part] if found else None

    def _read(self, key: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self._store.read(key))
        except ValueError as error:
            raise MasdError(
                f"{self._store.url}/{key}: unreadable record ({error}); move it away to continue"
            ) from error
        return {"run": "", "decision": "", "decision_reason": "", "sums_sha256": ""} | record


def productions(current: str | None, moves: list[dict[str, Any]]) -> list[str]:
    """The version in production, then the versions of further rollbacks, newest first.

    :param current: the version the production pointer names.
    :param moves: the records of :data:`MOVES`, oldest first. Records of moves that did not happen are
        skipped: followed back from ``current``, each record of a real move names the version before it.
    """
    happened, place = [], current
    for record in reversed(moves):
        if record["version"] == place:
            happened.append(record)
            place = record["previous"]
    stack: list[str] = []
    for record in reversed(happened):
        if record["event"] == "rollback":
            stack = stack[:-1]
        elif record["version"] != record["previous"]:
            stack.append(record["version"])
    if current is not None and stack[-1:] != [current]:
        stack.append(current)
    return stack[::-1]
