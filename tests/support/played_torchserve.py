"""A TorchServe that is played: its management and inference, for what decides about versions."""

from typing import Any

from serving.client import ScoringError
from serving.torchserve.management import Loaded, ManagementError


class Played:
    """Management and inference of a TorchServe: versions load unless they are ``broken``."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, bool]] = {}
        self.broken: set[tuple[str, str]] = set()
        self.hanging: set[tuple[str, str]] = set()
        self.workers: dict[tuple[str, str], int] = {}
        self.away = False
        self.calls: list[str] = []

    def loaded(self, machine: str) -> dict[str, Loaded]:
        if self.away:
            raise ManagementError("no answer from TorchServe")
        known = self.versions.get(machine, {})
        return {
            version: Loaded(version, default, (machine, version) not in self.hanging, self.workers[machine, version])
            for version, default in known.items()
        }

    def register(self, file: str, workers: int | None) -> None:
        machine, _, version = file.removesuffix(".mar").rpartition("-")
        self.calls.append(f"register {machine} {version}")
        self.workers[machine, version] = workers or 1
        self.versions.setdefault(machine, {})[version] = not self.versions.get(machine)

    def scale(self, machine: str, version: str, workers: int) -> None:
        self.workers[machine, version] = workers

    def set_default(self, machine: str, version: str) -> None:
        self.versions[machine] = {known: known == version for known in self.versions[machine]}

    def unregister(self, machine: str, version: str) -> None:
        self.calls.append(f"unregister {machine} {version}")
        self.versions.get(machine, {}).pop(version, None)
        self.workers.pop((machine, version), None)

    def score(self, machine: str, clip: bytes, request_id: str, version: str) -> dict[str, Any]:
        if (machine, version) in self.broken:
            raise ScoringError("answered 503", 503)
        return {"model_version": version}
