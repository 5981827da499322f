"""Events of the past, read from the events log."""

from io import BytesIO
from json import loads

import pandas as pd

from masd.alarms.events import Event
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError, one_line
from masd.storage.protocol import ObjectStore


def event_keys(store: ObjectStore, machine: str) -> list[str]:
    """The keys of a machine's events, oldest first; ``<time>-<kind>-<id>`` is the last part of each."""
    keys = [item.key for item in store.list(f"events/{check_machine_name(machine)}/")]
    return [key for key in keys if key.endswith(".parquet")]


def read_event(store: ObjectStore, key: str) -> Event:
    """One event of the log.

    :raises MasdError: it is damaged, or the store cannot be used.
    """
    content = store.read(key)
    try:
        (row,) = pd.read_parquet(BytesIO(content)).to_dict("records")
        return Event.from_dict({**{str(name): value for name, value in row.items()}, "worst": loads(row["worst"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MasdError(f"{store.url}/{key}: not an event ({one_line(error, 160)})") from error
