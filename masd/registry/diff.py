"""Compare two versions of a machine's model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from masd.errors import MasdError
from masd.registry.layout import place_of
from masd.registry.registry import Registry
from masd.storage.protocol import StoreError


@dataclass(frozen=True)
class VersionDifference:
    """A value that differs between two versions; None if a version does not have it."""

    about: str
    name: str
    before: Any
    after: Any


def diff(registry: Registry, machine: str, before: str, after: str) -> list[VersionDifference]:
    """Settings, metrics, code, data, classes and libraries that differ.

    :raises MasdError: a version does not exist, or its manifest or settings cannot be read.
    """
    one, two = (_described(registry, machine, version) for version in (before, after))
    return [
        VersionDifference(about, name, one[about].get(name), two[about].get(name))
        for about in one
        for name in dict.fromkeys([*one[about], *two[about]])
        if one[about].get(name) != two[about].get(name)
    ]


def _described(registry: Registry, machine: str, version: str) -> dict[str, dict[str, Any]]:
    manifest = registry.manifest(machine, version)
    return {
        "settings": _flat(_settings(registry, machine, version)),
        "metrics": manifest.metrics,
        "code": {"version": manifest.code_version, "bundle schema": manifest.schema_version},
        "data": {
            "fingerprint": manifest.data_fingerprint,
            "recordings": manifest.recordings,
            "classes": manifest.classes,
        },
        "library": dict(manifest.libraries),
    }


def _settings(registry: Registry, machine: str, version: str) -> dict[str, Any]:
    """With today's defaults if this masd can read the settings, else as they were written."""
    try:
        return registry.settings(machine, version).model_dump(mode="json")
    except StoreError:
        raise
    except MasdError:
        written = yaml.safe_load(registry.store.read(f"{place_of(machine)}/{version}/config.yaml"))
        return written if isinstance(written, dict) else {}


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
