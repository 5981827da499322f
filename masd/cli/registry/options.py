"""Options that the commands of ``masd registry`` share."""

import argparse
from typing import Protocol

from masd.errors import MasdError
from masd.registry.layout import place_of
from masd.registry.registry import Registry


class Actions(Protocol):
    """The group of commands; each command adds itself to it."""

    def add(self, name: str, help_: str, *, machine: bool = True, as_json: bool = False) -> argparse.ArgumentParser: ...


def open_registry(options: argparse.Namespace) -> Registry:
    """:raises MasdError: there is no registry at ``--registry``."""
    registry = Registry.open(options.registry)
    if not registry.store.children("models/").folders:
        raise MasdError(f"{registry.url}: is not a registry (it has no models/); name one with --registry")
    return registry


def check_known(registry: Registry, machine: str) -> None:
    """:raises MasdError: the registry has nothing of the machine."""
    if next(iter(registry.store.list(f"{place_of(machine)}/")), None) is None:
        known = ", ".join(registry.machines()) or "none"
        raise MasdError(f"{registry.url}: has no machine {machine} (machines: {known})")
