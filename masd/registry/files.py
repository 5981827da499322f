"""Read the files of a version from a store, and check them.

``SHA256SUMS`` has the digests of all other files, in the format of ``sha256sum -c``. Its own digest is in the pointers
and in the record of the registration.
"""

import hashlib
import re
from collections.abc import Container
from pathlib import Path

from masd.bundle.manifest import Manifest, load_manifest
from masd.errors import MasdError
from masd.files import sha256, write_text
from masd.registry.layout import CLAIM
from masd.storage.cache import cache_folder, discard, filling, temporary_folder, trim, used
from masd.storage.folder import FolderStore
from masd.storage.protocol import MissingObjectError, ObjectStore, check_key

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of everything in ``folder``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / SUMS, "".join(lines))


def check_version(folder: Path, machine: str, version: str, sums_sha256: str = "") -> Manifest:
    """Check that a folder has the registered files of a version and no others; the version may have any schema.

    :param sums_sha256: the digest of ``SHA256SUMS``, or empty if it is not known.
    :raises MasdError: a file is missing, was changed or was added; names the first.
    """
    if sums_sha256:
        _check(folder / SUMS, sums_sha256, str(folder / SUMS))
    manifest = load_manifest(folder, any_schema=True)
    if (manifest.machine_type, manifest.version) != (machine, version):
        raise MasdError(
            f"{folder}: its manifest is of {manifest.machine_type} version {manifest.version}, "
            f"not of {machine} version {version}; promote another version, or register this one again"
        )
    if (folder / SUMS).exists():  # registries of masd 0.1.0 have none
        registered = _parse((folder / SUMS).read_bytes(), str(folder))
        for name, digest in registered.items():
            _check(folder / name, digest, str(folder / name))
        for path in folder.rglob("*"):
            if path.is_file() and not _is_ours(path.relative_to(folder).as_posix(), registered):
                raise MasdError(
                    f"{path}: was not there when the version was registered; remove it, or promote another version"
                )
    return manifest


def _is_ours(name: str, registered: Container[str]) -> bool:
    staged = any(part.startswith(".") for part in name.split("/"))
    return name in registered or name == SUMS or name.startswith(CLAIM) or staged


def sums_sha256_of(store: ObjectStore, prefix: str) -> str:
    """The digest of ``SHA256SUMS`` of the version below ``prefix``; empty if it has none (masd 0.1.0)."""
    try:
        return hashlib.sha256(store.read(f"{prefix}/{SUMS}")).hexdigest()
    except MissingObjectError:
        return ""


def cached_version(store: ObjectStore, prefix: str, machine: str, version: str, sums_sha256: str = "") -> Path:
    """A verified copy of the version below ``prefix`` of a store, in the cache.

    The copy is named after the digest of ``SHA256SUMS``, or after the listing of a version of masd 0.1.0 that has none,
    so a changed version gets another copy. Several processes may fetch the same version at the same time.

    :raises MasdError: a file is missing or was changed.
    """
    sums = _sums(store, prefix, sums_sha256)
    about = sums or repr([(item.key, item.size, item.etag) for item in store.list(f"{prefix}/")]).encode()
    folder = cache_folder() / "versions" / hashlib.sha256(about).hexdigest()
    try:
        check_version(folder, machine, version)
    except MasdError:  # not there, or damaged since
        discard(folder)
        with filling(folder) as staged:
            _download(store, prefix, sums, staged, machine, version)
        trim(folder.parent)
    used(folder)
    return folder


def check_stored(store: ObjectStore, prefix: str, machine: str, version: str, sums_sha256: str = "") -> str:
    """:func:`check_version` of the files in a store, not in the cache; returns the digest of ``SHA256SUMS``.

    :raises MasdError: a file is missing or was changed.
    """
    if isinstance(store, FolderStore):
        found = sums_sha256 or sums_sha256_of(store, prefix)
        check_version(store.root / prefix, machine, version, found)
        return found
    sums = _sums(store, prefix, sums_sha256)
    with temporary_folder("check") as folder:
        _download(store, prefix, sums, folder, machine, version)
    return hashlib.sha256(sums).hexdigest() if sums else ""


def _sums(store: ObjectStore, prefix: str, expected: str) -> bytes:
    """``SHA256SUMS``; empty where there is none and nothing says that there was one (masd 0.1.0)."""
    where = f"{store.url}/{prefix}/{SUMS}"
    try:
        sums = store.read(f"{prefix}/{SUMS}")
    except MissingObjectError as error:
        if not expected:
            return b""
        raise _missing(where) from error
    if expected and hashlib.sha256(sums).hexdigest() != expected:
        raise _changed(where)
    return sums


def _download(store: ObjectStore, prefix: str, sums: bytes, folder: Path, machine: str, version: str) -> None:
    digests: dict[str, str] = {}
    if sums:
        (folder / SUMS).write_bytes(sums)
        digests = _parse(sums, f"{store.url}/{prefix}")
    names = list(digests) or [check_key(item.key.removeprefix(f"{prefix}/")) for item in store.list(f"{prefix}/")]
    for name in names:
        store.download(f"{prefix}/{name}", folder / name)
        if sums:
            _check(folder / name, digests[name], f"{store.url}/{prefix}/{name}")
    check_version(folder, machine, version)


def _parse(sums: bytes, where: str) -> dict[str, str]:
    lines = sums.decode("utf-8", "replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or not all(found):
        raise MasdError(f"{where}/{SUMS}: is damaged; promote another version or register this one again")
    return {check_key(line[2]): line[1] for line in found if line}


def _check(path: Path, digest: str, where: str) -> None:
    if not path.is_file():
        raise _missing(where)
    if sha256(path) != digest:
        raise _changed(where)


def _missing(where: str) -> MasdError:
    return MasdError(f"{where}: is missing from the version; promote another version or register this one again")


def _changed(where: str) -> MasdError:
    return MasdError(
        f"{where}: differs from what was registered (SHA-256); promote another version or register this one again"
    )
