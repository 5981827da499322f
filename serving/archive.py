"""A bundle -> the ``.mar`` TorchServe loads: handler, bundle and the masd that made it, in a reproducible zip.

A registry keeps that archive. A server that shares its workers among machines (:mod:`serving.torchserve.shared`) loads
bundles with its own masd, from an archive without code; only where that cannot be does it start the archive's own.
"""

import hashlib
import json
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

import masd
import serving
from masd.bundle.manifest import Manifest, OtherSchemaError, load_manifest
from masd.errors import MasdError
from masd.files import replacing_file
from serving.torchserve.shared import MARK

_SERVING = Path(serving.__path__[0])

CODE_DIGEST = "code.sha256"
"""The entry that has the digest of all code of an archive, as it was when the archive was built."""

MODEL_CONFIG: dict[str, Any] = {
    # How many workers there are is for the server to say: one archive is served on two cores and on forty.
    "batchSize": 8,
    # Milliseconds, which a lone caller pays in full on every clip. Waiting for company would buy little: what arrives
    # while a batch is scored makes the next batch anyway. TorchServe takes 0 for 100.
    "maxBatchDelay": 1,
    "responseTimeout": 600,  # seconds, for a batch: eight recordings of an hour on a slow core
    # As many workers as cores score at once: more threads would compete for them.
    "handler": {"threads": 1},
}


def archive(bundle: Path, out: Path) -> Path:
    """Write the archive of a bundle folder to the file ``out`` and return it.

    The model is named after the machine type and has the version of the manifest. The same bundle and the same code
    give the same bytes: names sorted, times and modes fixed, entries stored (a deflate library may change its output).

    :raises MasdError: the bundle does not verify (a name that is not legal for a model counts too), or the archiver is
        not installed.
    """
    manifest = load_manifest(bundle)
    code = {
        **_entry_point(),
        "serving/__init__.py": (_SERVING / "__init__.py").read_bytes(),
        **_sources(_SERVING / "worker", "serving/worker"),
        **_sources(Path(masd.__path__[0]), "masd"),
    }
    return _write(out, {**code, CODE_DIGEST: _digest(code).encode(), **_model(bundle, manifest)})


def deploy(bundle: Path, out: Path, *, shared: bool) -> bool:
    """Write to the file ``out`` what a server shall load for a verified bundle; whether shared workers can serve it.

    With ``shared``, that is the bundle alone, for workers that have a masd of their own. The archive in the bundle's
    folder is used where this masd does not read the bundle's schema, or somebody has changed the archive's code; and
    where workers are not shared.

    :raises MasdError: as :func:`archive`.
    """
    try:
        manifest: Manifest | None = load_manifest(bundle)
    except OtherSchemaError:
        manifest = None
    machine = load_manifest(bundle, any_schema=True).machine_type if manifest is None else manifest.machine_type
    ready = bundle / f"{machine}.mar"
    ours = is_archive_of(ready, bundle)
    if shared and manifest is not None and not (ours and _changed(ready)):
        _write(out, {**_entry_point(), MARK: b"", **_model(bundle, manifest)})
        return True
    if ours:
        with replacing_file(out) as staged:
            shutil.copyfile(ready, staged)
    else:
        archive(bundle, out)
    return False


def _entry_point() -> dict[str, bytes]:
    return {
        "handler.py": (_SERVING / "worker" / "handler.py").read_bytes(),  # TorchServe looks for it at the root
        "model-config.yaml": yaml.safe_dump(MODEL_CONFIG, sort_keys=False).encode(),
    }


def _model(bundle: Path, manifest: Manifest) -> dict[str, bytes]:
    return {
        "MAR-INF/MANIFEST.json": _mar_manifest(manifest).encode(),
        **{f"bundle/{name}": (bundle / name).read_bytes() for name in ("manifest.json", *manifest.files)},
    }


def _write(out: Path, entries: dict[str, bytes]) -> Path:
    with replacing_file(out) as staged, zipfile.ZipFile(staged, "w") as target:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = 0o100644 << 16
            target.writestr(info, entries[name])
    return out


def is_archive_of(mar: Path, bundle: Path) -> bool:
    """Whether ``mar`` holds this very bundle: the same manifest, which has the digest of every other file."""
    try:
        with zipfile.ZipFile(mar) as source:
            return source.read("bundle/manifest.json") == (bundle / "manifest.json").read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def _digest(code: dict[str, bytes]) -> str:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(code.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _changed(mar: Path) -> bool:
    """Whether the code of an archive is not what it was built with; archives without a digest count as unchanged."""
    with zipfile.ZipFile(mar) as source:
        names = source.namelist()
        if CODE_DIGEST not in names:
            return False
        own = [name for name in names if name != CODE_DIGEST and not name.startswith(("bundle/", "MAR-INF/"))]
        return source.read(CODE_DIGEST).decode("latin-1") != _digest({name: source.read(name) for name in own})


def _sources(folder: Path, name: str) -> dict[str, bytes]:
    """The Python files below a folder, by what they are called in the archive."""
    return {f"{name}/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in folder.rglob("*.py")}


def _mar_manifest(manifest: Manifest) -> str:
    """TorchServe's own manifest, from torch-model-archiver, with the bundle's time instead of the time of day.

    Only this part of the archiver is used: its packaging deletes ``<temporary folder>/<model name>``, whatever that is.
    """
    if find_spec("model_archiver") is None:
        raise MasdError("torch-model-archiver is not installed: pip install 'masd[serving]'")
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging_utils import ModelExportUtils

    config = ModelArchiverConfig(
        model_name=manifest.machine_type,
        handler="handler.py",
        version=manifest.version,
        config_file="model-config.yaml",
    )
    content = json.loads(ModelExportUtils.generate_manifest_json(config))
    return json.dumps({**content, "createdOn": manifest.created}, indent=2)
