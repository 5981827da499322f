"""Triggers of runs, stored beside the registry so that the same trigger starts only one run.

::

    triggers/<digest>.json        what it was, who ran it and how it ended
    triggers/locks/<digest>/...   who is claiming it just now

The digest is of what would make a second run pointless: the same recordings with the same settings, the same window
of the inference log, the same slot of a schedule. A trigger is claimed alone (:mod:`masd.storage.locks`) before the
work begins and shows a sign of life while it lasts, so one whose run failed or was killed can be claimed again.
"""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from masd.errors import MasdError, one_line
from masd.files import json_text
from masd.registry.audit import current_actor, now
from masd.storage.locks import exclusive
from masd.storage.protocol import MissingObjectError, ObjectStore

SIGN_OF_LIFE = timedelta(seconds=20)
"""Seconds between two writes of a running trigger's record."""
PRESUMED_DEAD = 4 * SIGN_OF_LIFE
"""If a record says "running" and is older than this by the store's clock, its run was killed."""


MOST = 5000
"""Records that are kept: a schedule of every half hour has as many in 100 days."""


@dataclass(frozen=True)
class TriggerRecord:
    """``triggers/<digest>.json``; ``code`` is the exit code of a run that is done."""

    kind: str
    about: dict[str, Any]
    state: Literal["running", "done", "failed"]
    attempt: int
    actor: str
    host: str
    pid: int
    begun: str
    ended: str | None = None
    code: int | None = None
    outcome: str = ""
    namespace: str = ""

    @property
    def gone(self) -> bool:
        """Whether its process is known to have ended, which is known only where its number means the same process."""
        if self.host != socket.gethostname() or not self.namespace or self.namespace != pid_namespace():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's
            pass
        return False


def pid_namespace() -> str:
    """Where this process' number is its own: containers may share a host name. Empty where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@dataclass(frozen=True)
class Outcome:
    """The result of :func:`once`: ``record`` is that of this run if ``started``, else of the run before."""

    started: bool
    record: TriggerRecord


def digest(kind: str, about: dict[str, Any]) -> str:
    """The trigger's name: the same for the same ``about``, whatever the order of its keys."""
    return hashlib.sha256(json.dumps([kind, about], sort_keys=True).encode()).hexdigest()


def once(store: ObjectStore, kind: str, about: dict[str, Any], work: Callable[[], tuple[int, str]]) -> Outcome:
    """Do ``work`` unless this trigger is running somewhere or has run to its end.

    ``work`` returns an exit code and a text about the outcome. If it raises, the trigger is recorded as failed, and the
    next call may try again.

    :raises MasdError: the store cannot be used, or what ``work`` raises.
    """
    name = digest(kind, about)
    key = f"triggers/{name}.json"
    claimed, record = _claim(store, name, key, kind, about)
    if not claimed:
        return Outcome(False, record)
    try:
        with _signs_of_life(store, key, record):
            code, outcome = work()
    except BaseException as error:
        with suppress(MasdError):  # it then looks killed, which may be retried as well
            why = one_line(error) or type(error).__name__
            _write(store, key, replace(record, state="failed", ended=now(), outcome=why))
        raise
    done = replace(record, state="done", ended=now(), code=code, outcome=outcome)
    _write(store, key, done)
    with suppress(MasdError):  # the next one makes room
        _trim(store)
    return Outcome(True, done)


def _claim(store: ObjectStore, name: str, key: str, kind: str, about: dict[str, Any]) -> tuple[bool, TriggerRecord]:
    with exclusive(store, f"triggers/locks/{name}", f"a run for the same {kind}") as lease:
        before = _read(store, key)
        if before is not None and (before.state == "done" or _running(store, key, before, lease.now)):
            return False, before
        attempt = 1 if before is None else before.attempt + 1
        who = (current_actor(), socket.gethostname(), os.getpid())
        record = TriggerRecord(kind, about, "running", attempt, *who, now(), namespace=pid_namespace())
        lease.check(f"claiming a run for the same {kind}")
        _write(store, key, record)
        return True, record


def _running(store: ObjectStore, key: str, record: TriggerRecord, store_now: datetime) -> bool:
    if record.state != "running" or record.gone:
        return False
    (item,) = [item for item in store.list(key) if item.key == key]
    return store_now - item.modified <= PRESUMED_DEAD


def _trim(store: ObjectStore) -> None:
    """Forget the triggers that were written longest ago, beyond :data:`MOST`: none of them is running any more."""
    records = [item for item in store.children("triggers/").objects if item.key.endswith(".json")]
    for item in sorted(records, key=lambda item: item.modified)[:-MOST]:
        store.delete(item.key)


@contextmanager
def _signs_of_life(store: ObjectStore, key: str, record: TriggerRecord) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(SIGN_OF_LIFE.total_seconds()):
            with suppress(MasdError):  # the store is away: the next beat may reach it again
                _write(store, key, record)

    thread = threading.Thread(target=beat, daemon=True, name="trigger")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _read(store: ObjectStore, key: str) -> TriggerRecord | None:
    try:
        return TriggerRecord(**json.loads(store.read(key)))
    except MissingObjectError:
        return None
    except (ValueError, TypeError) as error:
        raise MasdError(f"{store.url}/{key}: unreadable record ({error}); move it away to continue") from error


def _write(store: ObjectStore, key: str, record: TriggerRecord) -> None:
    store.write(key, (json_text(asdict(record), indent=2) + "\n").encode())
