"""The names of a registry's objects: see :mod:`masd.registry.registry`."""

import re

from masd.data.machine_name import MACHINE_NAME, check_machine_name
from masd.storage.protocol import ObjectStore, StoredObject

MANIFEST = "manifest.json"
"""Written last and removed first: a version is there if and only if this is."""
CLAIM = "claim-"
"""What an object is called that keeps a version's number for who is registering it."""


def place_of(machine: str) -> str:
    """:raises MasdError: a name that could lead out of the registry."""
    return f"models/{check_machine_name(machine)}"


def machine_folders(store: ObjectStore) -> list[str]:
    """Machines that have anything in a registry; other folders are no machine's, and verify says so."""
    return [name for name in store.children("models/").folders if MACHINE_NAME.fullmatch(name)]


def numbered(store: ObjectStore, machine: str) -> dict[str, dict[str, StoredObject]]:
    """All objects of every version number, whole or not, by their name below it; numbers in rising order."""
    place = f"{place_of(machine)}/"
    numbers: dict[str, dict[str, StoredObject]] = {}
    for item in store.list(place):
        if match := re.fullmatch(r"(\d+)/(.+)", item.key.removeprefix(place)):
            numbers.setdefault(match[1], {})[match[2]] = item
    return dict(sorted(numbers.items(), key=lambda number: int(number[0])))


def whole(numbers: dict[str, dict[str, StoredObject]]) -> list[str]:
    """Those of :func:`numbered` that are versions."""
    return [number for number, objects in numbers.items() if MANIFEST in objects]
