"""An object store in a folder: each object is a file."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from masd.files import replacing_file
from masd.storage.protocol import Children, MissingObjectError, StoredObject, StoreError, check_key

LEFT_S = 3600.0
"""A staged file that is older belongs to a killed process."""


class FolderStore:
    """Files below ``root``; the folder is made when the first object is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def read(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise MissingObjectError(f"{self.url} has no object {key}") from error
        except OSError as error:
            raise self._failed("read", key, error) from error

    def write(self, key: str, content: bytes) -> None:
        try:
            with self._durable(key) as staged:
                staged.write_bytes(content)
        except OSError as error:
            raise self._failed("write", key, error) from error

    def download(self, key: str, path: Path) -> None:
        source = self._path(key)
        try:
            with replacing_file(path) as staged:
                shutil.copyfile(source, staged)
        except FileNotFoundError as error:
            raise MissingObjectError(f"{self.url} has no object {key}") from error
        except OSError as error:
            raise self._failed("read", key, error) from error

    def upload(self, path: Path, key: str) -> None:
        try:
            with self._durable(key) as staged:
                shutil.copyfile(path, staged)
        except OSError as error:
            raise self._failed("write", key, error) from error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = prefix.rpartition("/")[0]
        found = [item for item in self._below(f"{folder}/" if folder else "") if item.key.startswith(prefix)]
        yield from sorted(found, key=lambda item: item.key)

    def _below(self, folder: str) -> Iterator[StoredObject]:
        inside = self.children(folder)
        yield from inside.objects
        for name in inside.folders:
            yield from self._below(f"{folder}{name}/")

    def children(self, prefix: str = "") -> Children:
        objects, folders = [], []
        try:
            with os.scandir(self.root / prefix) as entries:
                for entry in entries:
                    if entry.name.startswith("."):  # staged by a writer that is not done yet
                        continue
                    if entry.is_dir():
                        folders.append(entry.name)
                        continue
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        objects.append(_stored(prefix + entry.name, entry.stat()))
        except (FileNotFoundError, NotADirectoryError):
            pass
        return Children(sorted(objects, key=lambda item: item.key), sorted(folders))

    def leftovers(self, prefix: str) -> Sequence[Path]:
        """Hidden files below ``prefix`` that writers staged before they were killed."""
        old = time.time() - LEFT_S
        found = [Path(folder, name) for folder, _, names in os.walk(self.root / prefix) for name in names]
        hidden = [path for path in found if path.name.startswith(".")]
        return sorted(path for path in hidden if path.lstat().st_mtime < old)

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed("delete", key, error) from error

    @contextmanager
    def _durable(self, key: str) -> Iterator[Path]:
        """As :func:`replacing_file`; after the block the new name is on the disk, too."""
        path = self._path(key)
        with replacing_file(path) as staged:
            yield staged
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _failed(self, what: str, key: str, error: OSError) -> StoreError:
        return StoreError(f"{self.url}: cannot {what} {key}: {error.strerror or error}")


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
