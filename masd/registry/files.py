"""The files of one version: how they are read from a store and checked.

``SHA256SUMS`` vouches for every other file, the manifest and the archive too; ``sha256sum -c`` reads it.
"""

import hashlib
import re
import tempfile
from pathlib import Path

from masd.bundle.manifest import Manifest, load_manifest
from masd.errors import MasdError
from masd.files import sha256, write_text
from masd.storage.cache import cache_folder, discard, filling
from masd.storage.folder import FolderStore
from masd.storage.protocol import ObjectStore, check_key

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of everything in ``folder``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / SUMS, "".join(lines))


def check_version(folder: Path, machine: str, version: str) -> Manifest:
    """Check every file of a version in a folder.

    :raises MasdError: the first that is missing or is not what was registered.
    """
    manifest = load_manifest(folder)
    if (manifest.machine_type, manifest.version) != (machine, version):
        raise MasdError(
            f"{folder}: its manifest is of {manifest.machine_type} version {manifest.version}, "
            f"not of {machine} version {version}"
        )
    if (folder / SUMS).exists():  # registries of masd 0.1.0 have none
        for name, digest in _parse((folder / SUMS).read_bytes(), str(folder)).items():
            _check(folder / name, digest, str(folder / name))
    return manifest


def cached_version(store: ObjectStore, prefix: str, machine: str, version: str) -> Path:
    """A verified copy of the version below ``prefix`` of a store, in the cache.

    Its name there is the digest of ``SHA256SUMS``, so a version that was changed is never taken for the old one.
    Several processes may ask for the same version at once.

    :raises MasdError: a file that is missing or is not what was registered.
    """
    sums = store.read(f"{prefix}/{SUMS}")
    folder = cache_folder() / "versions" / hashlib.sha256(sums).hexdigest()
    try:
        check_version(folder, machine, version)
    except MasdError:  # not there, or damaged since
        discard(folder)
        with filling(folder) as staged:
            _download(store, prefix, sums, staged, machine, version)
    return folder


def check_stored(store: ObjectStore, prefix: str, machine: str, version: str) -> None:
    """:func:`check_version` of what is in a store now, whatever the cache has.

    :raises MasdError: a file that is missing or is not what was registered.
    """
    if isinstance(store, FolderStore):
        check_version(store.root / prefix, machine, version)
        return
    with tempfile.TemporaryDirectory(prefix="masd-check-") as folder:
        _download(store, prefix, store.read(f"{prefix}/{SUMS}"), Path(folder), machine, version)


def _download(store: ObjectStore, prefix: str, sums: bytes, folder: Path, machine: str, version: str) -> None:
    (folder / SUMS).write_bytes(sums)
    for name, digest in _parse(sums, f"{store.url}/{prefix}").items():
        store.download(f"{prefix}/{name}", folder / name)
        _check(folder / name, digest, f"{store.url}/{prefix}/{name}")
    check_version(folder, machine, version)


def _parse(sums: bytes, where: str) -> dict[str, str]:
    lines = sums.decode("utf-8", "replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or not all(found):
        raise MasdError(f"{where}/{SUMS}: is damaged; promote another version or register this one again")
    return {check_key(line[2]): line[1] for line in found if line}


def _check(path: Path, digest: str, where: str) -> None:
    if not path.is_file():
        raise MasdError(f"{where}: is missing from the version; promote another version or register this one again")
    if sha256(path) != digest:
        raise MasdError(
            f"{where}: differs from what was registered (SHA-256); promote another version or register this one again"
        )
