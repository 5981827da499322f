"""A bundle as far as the registry looks: every digest is right, but no file holds what its name says."""

import secrets
from pathlib import Path

from masd.bundle.manifest import FILES, Manifest, write_manifest
from masd.config import Settings
from masd.files import sha256


def write_fake_bundle(
    folder: Path, machine: str = "fan", settings: Settings | None = None, size: int = 2000, recordings: str = ""
) -> Path:
    """Write one with random content; no two are alike."""
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(secrets.token_bytes(size))
    (folder / "config.yaml").write_text((settings or Settings()).to_yaml(), encoding="utf-8")
    files = {name: sha256(folder / name) for name in FILES}
    manifest = Manifest(machine, secrets.token_hex(8), ["a"], recordings, created="2026-01-01", files=files)
    write_manifest(folder, manifest)
    return folder
