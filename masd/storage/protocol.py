"""The interface of object stores: bytes under keys, in a folder or in an S3-compatible bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from masd.errors import MasdError


class StoreError(MasdError):
    """The store cannot be used: it is unreachable, full or missing, or refuses access."""


class MissingObjectError(StoreError):
    """There is no object with this key."""


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it; ``modified`` is by the store's own clock.

    ``etag`` changes whenever the content does; a folder has none.
    """

    key: str
    size: int
    modified: datetime
    etag: str = ""


@dataclass(frozen=True)
class Children:
    """Objects and folder names directly below a prefix, each in the order of their keys."""

    objects: list[StoredObject]
    folders: list[str]


class ObjectStore(Protocol):
    """Keys are relative paths separated by ``/`` that stay inside the store. An object is complete or absent."""

    url: str
    """The URL of the store, without credentials: for messages and for opening it again."""

    def read(self, key: str) -> bytes:
        """:raises MissingObjectError: no such object."""

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object. After this returns, the object survives a crash of client or store."""

    def download(self, key: str, path: Path) -> None:
        """Write an object of any size to ``path``: first beside it, then renamed.

        :raises MissingObjectError: no such object.
        """

    def upload(self, path: Path, key: str) -> None:
        """:meth:`write` for a file of any size."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose key starts with ``prefix``, in the order of their keys."""

    def children(self, prefix: str = "") -> Children:
        """One level of :meth:`list`, where a full listing is too long; ``prefix`` is empty or ends with "/"."""

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""


def check_key(key: str) -> str:
    """:raises StoreError: a key that could leave the store or that only one kind of store could hold."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise StoreError(f"{key!r} is not a key: use relative names separated by '/'")
    return key
