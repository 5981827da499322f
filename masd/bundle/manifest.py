"""``manifest.json``: what a bundle is and what every other file in it must be. Read without loading the model."""

import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import masd
from masd.data.machine_name import check_machine_name
from masd.errors import MasdError, one_line
from masd.files import json_text, sha256, write_text

SCHEMA_VERSION = 7
"""Since 7, ``config.yaml`` counts the training in steps, and the default detector leaves out a clip's most unusual
tenth; since 6, a model may have no network; since 5, a bundle has a ``calibration``.
"""
OLDEST_SCHEMA = 4
"""The schema of version 0.1.0."""

UNREGISTERED = "0"
REVISION = "MASD_REVISION"
"""Environment variable with the git commit that an image was built from; the Dockerfile sets it."""
COMMIT = re.compile(r"[0-9a-f]{12,64}")
NETWORK = "network.safetensors"
FILES = ("config.yaml", NETWORK, "detectors.safetensors", "reference.parquet", "history.json")
"""All files of a bundle but its manifest; a model without a network has no :data:`NETWORK`."""


class OtherSchemaError(MasdError):
    """A bundle whose schema this masd does not read: it can be described, and served by its own archive."""

    def __init__(self, where: str, schema: int) -> None:
        self.schema = schema
        super().__init__(f"{where}: {_needs(schema)}")


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: what the bundle is, where it came from, and the SHA-256 of every other file.

    ``data_fingerprint`` is of the training data; ``recordings`` is the fingerprint of all recordings, including tests,
    of the machines that share its network (:func:`masd.data.data_sets.fingerprint`), empty if it was not stored.
    ``calibration`` describes the threshold of the model's system: ``threshold``, ``threshold_low``, ``threshold_high``,
    ``clips``, ``recordings``, ``rate``. ``trained_on`` are the sample rates, codecs, channels, levels and clipping of
    the training clips (:class:`masd.detection.trained_on.warning_codes.TrainedOn`).
    """

    machine_type: str
    data_fingerprint: str
    classes: list[str]
    recordings: str = ""
    calibration: dict[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    version: str = UNREGISTERED
    created: str = ""
    code_version: str = ""
    trained_on: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> str:
        """What this masd lacks to load the bundle, in a sentence; empty where it reads its schema."""
        return "" if OLDEST_SCHEMA <= self.schema_version <= SCHEMA_VERSION else _needs(self.schema_version)


def _needs(schema: int) -> str:
    if schema > SCHEMA_VERSION:
        return f"bundle schema {schema} is newer than this masd reads ({SCHEMA_VERSION}); upgrade masd"
    return (
        f"bundle schema {schema} is older than this masd reads ({OLDEST_SCHEMA}); train it again, or serve "
        "its .mar archive, which contains the masd that made it"
    )


def parse_manifest(text: str | bytes, where: str, *, any_schema: bool = False) -> Manifest:
    """Read a manifest's text, without checking the files that it names.

    :param where: the bundle, for messages.
    :param any_schema: describe a bundle of another schema too; what this masd does not know of it is left out.
    :raises OtherSchemaError: a manifest of another schema.
    :raises MasdError: no manifest of a bundle.
    """
    try:
        content = json.loads(text)
        schema = content["schema_version"]
        if not OLDEST_SCHEMA <= schema <= SCHEMA_VERSION:
            if not any_schema:
                raise OtherSchemaError(where, schema)
            known = {part.name for part in fields(Manifest)}
            content = {name: value for name, value in content.items() if name in known}
        manifest = Manifest(**content)
        check_machine_name(manifest.machine_type)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MasdError(
            f"{where}: is not a bundle ({one_line(error, 160)}); give a folder that masd train wrote"
        ) from error
    if not manifest.needs and {*manifest.files, NETWORK} != set(FILES):
        raise MasdError(
            f"{where}/manifest.json: must name exactly the files {', '.join(FILES)}; only {NETWORK} may be left out"
        )
    return manifest


def load_manifest(folder: Path, *, any_schema: bool = False) -> Manifest:
    """Read ``manifest.json`` and check every file it names.

    :raises OtherSchemaError: another schema, unless ``any_schema``.
    :raises MasdError: not a bundle, or a file that is missing or not what was written.
    """
    try:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise MasdError(
            f"{folder}: is not a bundle ({one_line(error, 160)}); give a folder that masd train wrote"
        ) from error
    manifest = parse_manifest(text, str(folder), any_schema=any_schema)
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            raise MasdError(f"{folder / name}: missing from the bundle; fetch or train it again")
        if sha256(folder / name) != digest:
            raise MasdError(f"{folder / name}: differs from the manifest (SHA-256); fetch or train it again")
    return manifest


def stamp(folder: Path, *, version: str, metrics: dict[str, Any]) -> Manifest:
    """Give a bundle that is about to be registered its version and metrics; no other file changes."""
    manifest = replace(load_manifest(folder), version=version, metrics=metrics)
    write_manifest(folder, manifest)
    return manifest


def code_version() -> str:
    """masd's version, with the git commit of the checkout it runs from, or else the one that :data:`REVISION` names."""
    try:
        own = version("masd")
    except PackageNotFoundError:  # the copy inside a model archive
        own = "unknown"
    root = Path(masd.__file__).parent.parent
    if not (root / ".git").exists():
        revision = os.environ.get(REVISION, "")
        return f"{own}+g{revision[:12]}" if COMMIT.fullmatch(revision) else own
    commit = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return f"{own}+g{commit}" if commit else own


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest, complete or not at all."""
    write_text(folder / "manifest.json", json_text(asdict(manifest), indent=2) + "\n")
