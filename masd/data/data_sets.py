"""Recordings from a store: a folder is used in place, a bucket's objects are downloaded into the cache.

::

    objects/<identity>                     one downloaded object; its identity: store, key, ETag and size
    data/<identities>/<machine>/train/...  the recordings of one listing, as hard links to the objects

The files below these names never change, so several processes can share them. If a recording is replaced in the
bucket, only this one is downloaded again.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from masd.data.findings import say
from masd.data.folders.listing import AUDIO_SUFFIXES, listing_of
from masd.data.folders.machine import list_machines
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError
from masd.files import replacing_file, sha256
from masd.progress import ConsoleProgress
from masd.storage.cache import cache_folder, filling, trim, used
from masd.storage.opening import folder_of, open_store
from masd.storage.protocol import ObjectStore, StoredObject, StoreError, check_key

DOWNLOADS = 8
"""Downloads at a time: as many as the store's client has connections."""


def local_data(url: str | Path, machines: Sequence[str]) -> Path:
    """A folder with one folder per machine, from a folder or a bucket.

    :raises MasdError: the store cannot be used, or has no recording of a machine.
    """
    if not str(url).startswith("s3://"):
        return folder_of(str(url))
    store = open_store(str(url))
    listed = [item for machine in machines for item in _recordings(store, check_machine_name(machine))]
    folder = cache_folder() / "data" / _digest([_identity(store, item) for item in listed])
    if not folder.is_dir():
        for machine in machines:
            keys = (item.key.partition("/")[2] for item in store.list(f"{machine}/"))
            say(machine, [one for one in listing_of(keys).findings() if one.code == "left_out"])  # and not downloaded
        _download(store, [item for item in listed if not _cached(store, item).exists()], ", ".join(machines))
        with filling(folder) as staged:
            for item in listed:
                link = staged / item.key
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(_cached(store, item), link)
        trim(folder.parent)
        trim(cache_folder() / "objects")
    used(folder)
    return folder


def local_machine(url: str | Path) -> Path:
    """The folder of one machine, from ``DATA/MACHINE``.

    :raises MasdError: as :func:`local_data`.
    """
    root, _, machine = str(url).rstrip("/").rpartition("/")
    return local_data(root, [machine]) / machine if root.startswith("s3://") else folder_of(str(url)).resolve()


def training_bytes(url: str | Path) -> dict[str, int]:
    """Machines below ``url``, in the order of their names, with the size of their training recordings.

    :raises MasdError: the store cannot be used or has no machine.
    """
    if not str(url).startswith("s3://"):
        data = folder_of(str(url))
        return {machine: _bytes_below(data / machine / "train") for machine in list_machines(data)}
    sizes: dict[str, int] = {}
    for item in open_store(str(url)).list():
        machine, _, rest = item.key.partition("/")
        if rest.startswith("train/"):
            sizes[machine] = sizes.get(machine, 0) + item.size
    if not sizes:
        raise MasdError(f"{url}: contains no machine folder; expected {url}/<machine>/train/*.wav")
    return sizes


def fingerprint(url: str | Path, machines: Sequence[str] = ()) -> str:
    """A digest of the files below ``url``, or below the folders of ``machines`` there: their names and bytes.

    :raises MasdError: the store cannot be used, or there are no files.
    """
    path = None if str(url).startswith("s3://") else folder_of(str(url))
    store = open_store(str(url))
    prefixes = [f"{machine}/" for machine in machines] or [""]
    if path is not None:  # a listing does not follow links, and recordings often lie on another disk
        parts = [part for machine in machines for part in (path / machine).glob("*")]
        prefixes += [f"{part.parent.name}/{part.name}/" for part in parts if part.is_symlink() and part.is_dir()]
    found = [item for prefix in sorted(prefixes) for item in store.list(prefix)]
    if not found:
        places = ", ".join(f"{url}/{machine}" for machine in machines)
        expected = f"{places}: does not exist or is empty; expected a machine's folder with train/*.wav"
        raise MasdError(expected if machines else f"{url}: does not exist or is empty")
    # An ETag stands for the bytes; a folder has none, and its times change with every copy.
    return _digest([[item.key, item.size, item.etag or _content(folder_of(str(url)) / item.key)] for item in found])


def glance(url: str | Path) -> str:
    """A digest of names, sizes and times below ``url``, without reading files. Empty if there are no files yet."""
    found = list(open_store(str(url)).list())
    return _digest([[item.key, item.size, item.etag or item.modified.isoformat()] for item in found]) if found else ""


def _content(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:  # training passes such a recording over, within data.max_unreadable_share
        return type(error).__name__


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _recordings(store: ObjectStore, machine: str) -> list[StoredObject]:
    wanted = {*AUDIO_SUFFIXES, ".csv"}
    found = [item for item in store.list(f"{machine}/") if PurePosixPath(item.key).suffix.lower() in wanted]
    if not found:
        raise MasdError(f"{store.url}/{machine}: contains no recordings; expected {machine}/train/*.wav")
    for item in found:
        check_key(item.key)
    return found


def _download(store: ObjectStore, items: Sequence[StoredObject], machines: str) -> None:
    with ConsoleProgress(f"download {machines}") as progress, ThreadPoolExecutor(DOWNLOADS) as pool:
        futures = [pool.submit(_fetch, store, item) for item in items]
        try:
            for done, future in enumerate(futures, start=1):
                future.result()
                progress(done, len(items), "recordings")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(store: ObjectStore, item: StoredObject) -> None:
    with replacing_file(_cached(store, item)) as staged:
        store.download(item.key, staged)
        if staged.stat().st_size != item.size:
            raise StoreError(
                f"{store.url}/{item.key}: was replaced while it was downloaded; run the same command again"
            )


def _cached(store: ObjectStore, item: StoredObject) -> Path:
    return cache_folder() / "objects" / _digest(_identity(store, item))


def _identity(store: ObjectStore, item: StoredObject) -> list[str]:
    return [store.url, item.key, item.etag or item.modified.isoformat(), str(item.size)]


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
