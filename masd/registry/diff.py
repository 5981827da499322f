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
    """One thing that is not the same; None where one of the two has no such thing."""

    about: str
    name: str
    before: Any
    after: Any


def diff(registry: Registry, machine: str, before: str, after: str) -> list[VersionDifference]:
    """Settings, metrics, code, data, classes and libraries that differ.

    :raises MasdError: a version that is not there, or whose manifest or settings cannot be read.
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
    """With the defaults of today where these settings can be read today, as they were written where not."""
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
