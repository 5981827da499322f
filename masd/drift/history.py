"""The drift checks of each machine so far: one small object per machine, beside the inference log."""

import json
from pathlib import Path
from typing import NamedTuple

from masd.drift.verdict import Decision, DriftVerdict
from masd.errors import MasdError, one_line
from masd.storage.locks import exclusive
from masd.storage.protocol import MissingObjectError, ObjectStore

MOST = 100
"""The most checks that are kept of a machine: nightly checks of three months."""


class DriftCheck(NamedTuple):
    """One check; ``drifted`` names the columns that have drifted, ``time`` is ISO 8601 in UTC."""

    time: str
    model_version: str
    verdict: Decision
    clips: int
    drifted: tuple[str, ...]
    sentence: str


def remember(store: ObjectStore, verdict: DriftVerdict, time: str) -> None:
    """Add a check to the history of its machine.

    :raises MasdError: the store cannot be used, or the history there is damaged.
    """
    machine = verdict.machine_type
    drifted = tuple(name for name, column in verdict.columns.items() if column.drifted)
    check = DriftCheck(time, verdict.model_version, verdict.verdict, verdict.clips, drifted, verdict.sentence)
    with exclusive(store, f"locks/{machine}", f"{machine}: a drift check") as lease:
        checks = [*load_history(store, machine), check][-MOST:]
        lease.check(f"{machine}: a drift check")
        store.write(history_key(machine), json.dumps([one._asdict() for one in checks]).encode())


def load_history(store: ObjectStore, machine: str) -> list[DriftCheck]:
    """All stored checks of a machine, oldest first; none if it was never checked.

    :raises MasdError: the store cannot be used, or the history there is damaged.
    """
    key = history_key(machine)
    try:
        return [DriftCheck(**{**one, "drifted": tuple(one["drifted"])}) for one in json.loads(store.read(key))]
    except MissingObjectError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        raise MasdError(
            f"{store.url}/{key}: is damaged ({one_line(error, 160)}); move it away to start again"
        ) from error


def history_key(machine: str) -> str:
    return f"machines/{machine}.json"


def beside(log_url: str, what: str) -> str:
    """The default place of data that is made from a log: ``<log>-<what>``."""
    url = log_url.rstrip("/")
    return f"{url.removesuffix(Path(url).suffix) if Path(url).suffix in ('.jsonl', '.parquet') else url}-{what}"
