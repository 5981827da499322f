"""Open the object store of a URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from masd.storage.folder import FolderStore
from masd.storage.protocol import ObjectStore, StoreError


def open_store(url: str) -> ObjectStore:
    """``file:///folder``, a plain path, or ``s3://bucket/prefix``.

    :raises StoreError: another scheme, or an environment without what a bucket needs. The bucket itself is not tried
        before its first use.
    """
    if url.startswith("s3://"):
        from masd.storage.s3 import S3Store

        return S3Store.from_url(url)
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
