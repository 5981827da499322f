"""Named bytes in a folder or in an S3-compatible bucket: one small interface, chosen by URL."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from masd.errors import MasdError


class StoreError(MasdError):
    """The store cannot be used: unreachable, refused, full, or not there at all."""


class MissingObjectError(StoreError):
    """There is no object of this key."""


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it; ``modified`` is by the store's own clock.

    ``etag`` changes whenever the content does; a folder has none.
    """

    key: str
    size: int
    modified: datetime
    etag: str = ""


class ObjectStore(Protocol):
    """Keys are relative, ``/``-separated and never leave the store. Every object is whole or not there."""

    url: str
    """As it was opened, without credentials: for messages and for opening it again."""

    def read(self, key: str) -> bytes:
        """:raises MissingObjectError: no such object."""

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object; once this returns, it survives a crash of either side."""

    def download(self, key: str, path: Path) -> None:
        """Bring an object of any size to ``path``: written beside, then renamed.

        :raises MissingObjectError: no such object.
        """

    def upload(self, path: Path, key: str) -> None:
        """:meth:`write` for a file of any size."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose key starts with ``prefix``, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""


def open_store(url: str) -> ObjectStore:
    """``file:///folder``, a plain path, or ``s3://bucket/prefix``.

    :raises StoreError: another scheme, or an environment in which no bucket can be used. Whether this one can is seen
        at its first use.
    """
    if url.startswith("s3://"):
        from masd.lifecycle.s3_store import S3Store

        return S3Store.from_url(url)
    from masd.lifecycle.folder_store import FolderStore

    return FolderStore(folder_of(url))


def folder_of(url: str) -> Path:
    """The folder that a path or a ``file://`` URL names.

    :raises StoreError: another scheme.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" in url:
        raise StoreError(f"{url}: give a path, file:///folder or s3://bucket/prefix")
    return Path(url)


def absolute_url(url: str) -> str:
    """The same store for a process in another working folder.

    :raises StoreError: another scheme.
    """
    return url if url.startswith("s3://") else str(folder_of(url).resolve())


def check_key(key: str) -> str:
    """:raises StoreError: a key that could leave the store or that only one kind of store could hold."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise StoreError(f"{key!r} is not a key: use relative names separated by '/'")
    return key
