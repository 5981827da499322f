"""Recordings and pictures of clips, where a plant keeps them under their request id."""

import re
from collections.abc import Iterable

from masd.data.machine_name import check_machine_name
from masd.errors import MasdError
from masd.storage.folder import FolderStore
from masd.storage.protocol import ObjectStore

TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
}
"""What is looked for, and how it is sent."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+=-]{0,199}")
"""Request ids are callers' words: others than these are in no file's name."""


def kept_files(store: ObjectStore, machine: str, request_ids: Iterable[str]) -> dict[str, list[str]]:
    """The files of those clips that have any, as ``<request id>.<suffix>``."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(request_ids):
        if not _NAME.fullmatch(name):
            continue
        place = f"{check_machine_name(machine)}/{name}"
        if isinstance(store, FolderStore):  # whose listing would look at every file of the machine
            there = [suffix for suffix in TYPES if (store.root / f"{place}{suffix}").is_file()]
        else:
            listed = {item.key.removeprefix(place) for item in store.list(f"{place}.")}
            there = [suffix for suffix in TYPES if suffix in listed]
        found[name] = [f"{name}{suffix}" for suffix in there]
    return {name: files for name, files in found.items() if files}


def read_clip(store: ObjectStore, machine: str, file: str) -> tuple[bytes, str]:
    """A file and its media type.

    :raises MasdError: there is none of this name, or the store cannot be used.
    """
    name, dot, suffix = file.rpartition(".")
    media = TYPES.get(dot + suffix)
    if media is None or not _NAME.fullmatch(name):
        raise MasdError(f"there is no recording or picture {file!r}")
    return store.read(f"{check_machine_name(machine)}/{file}"), media
