"""The names of a registry's objects: see :mod:`masd.registry.registry`."""

import re

from masd.data.machine_name import MACHINE_NAME, check_machine_name
from masd.storage.protocol import ObjectStore, StoredObject

MANIFEST = "manifest.json"
"""Written last and removed first: a version exists if and only if this file does."""
CLAIM = "claim-"
"""The name of the object that reserves a version's number during its registration."""


def place_of(machine: str) -> str:
    """:raises MasdError: the name is not a valid machine type."""
    return f"models/{check_machine_name(machine)}"


def machine_folders(store: ObjectStore) -> list[str]:
    """Machines with objects in a registry. Folders with other names are left out; verify reports them."""
    return [name for name in store.children("models/").folders if MACHINE_NAME.fullmatch(name)]


def numbered(store: ObjectStore, machine: str) -> dict[str, dict[str, StoredObject]]:
    """All objects by version number and name, also those of incomplete versions; numbers in rising order."""
    place = f"{place_of(machine)}/"
    numbers: dict[str, dict[str, StoredObject]] = {}
    for item in store.list(place):
        if match := re.fullmatch(r"(\d+)/(.+)", item.key.removeprefix(place)):
            numbers.setdefault(match[1], {})[match[2]] = item
    return dict(sorted(numbers.items(), key=lambda number: int(number[0])))


def whole(numbers: dict[str, dict[str, StoredObject]]) -> list[str]:
    """The numbers of :func:`numbered` that are complete versions."""
    return [number for number, objects in numbers.items() if MANIFEST in objects]
