"""A bundle -> the ``.mar`` TorchServe loads: handler, bundle and the masd that made it, in a reproducible zip."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

import masd
import serving
from masd.bundle.manifest import Manifest, load_manifest
from masd.errors import MasdError
from masd.files import replacing_file

_SERVING = Path(serving.__path__[0])

MODEL_CONFIG: dict[str, Any] = {
    # How many workers there are is for the server to say: one archive is served on two cores and on forty.
    "batchSize": 8,
    # Milliseconds, which a lone caller pays in full on every clip. Waiting for company would buy little: what arrives
    # while a batch is scored makes the next batch anyway.
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
    entries = {
        "handler.py": (_SERVING / "worker" / "handler.py").read_bytes(),  # TorchServe looks for it at the root
        "model-config.yaml": yaml.safe_dump(MODEL_CONFIG, sort_keys=False).encode(),
        "MAR-INF/MANIFEST.json": _mar_manifest(manifest).encode(),
        "serving/__init__.py": (_SERVING / "__init__.py").read_bytes(),
        **_sources(_SERVING / "worker", "serving/worker"),
        **{f"bundle/{name}": (bundle / name).read_bytes() for name in ("manifest.json", *manifest.files)},
        **_sources(Path(masd.__path__[0]), "masd"),
    }
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
