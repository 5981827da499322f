"""A registry where every machine but 'new-*' has version 1 in production."""

from pathlib import Path


class Registry:
    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, url: str) -> "Registry":
        return cls(Path(url))

    def channel(self, machine: str, name: str) -> str | None:
        return None if machine.startswith("new") else "1"

    def audit(self, machine: str, *events: str) -> list[dict[str, str]]:
        return []

    def fetch(self, machine: str, version: str) -> Path:
        return self.root / "models" / machine / version
