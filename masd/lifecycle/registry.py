"""The registry: immutable versions, small pointers, and a record of every decision.

::

    models/<machine>/<version>/...                          a bundle (and its .mar), never changed
    models/<machine>/channels/{candidate,production}.json   pointers, written last
    models/<machine>/audit/<time>-<event>.json              one record per registration, promotion, rollback and refusal
"""

import getpass
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from masd.errors import MasdError
from masd.files import write_text
from masd.lifecycle.manifest import check_machine_name, load_manifest, stamp

Channel = Literal["candidate", "production"]
Event = Literal["register", "promote", "rollback", "refuse"]
CHANNELS: tuple[Channel, ...] = ("candidate", "production")


@dataclass(frozen=True)
class AuditRecord:
    """Who did what, when and why; ``previous`` and ``version`` are where a pointer stood before and stands now."""

    event: Event
    machine_type: str
    version: str | None
    previous: str | None
    actor: str
    time: str
    reason: str
    metrics: dict[str, Any]


def current_actor() -> str:
    """Who acts: ``MASD_ACTOR`` (a service account, a CI job), or the user's name."""
    if actor := os.environ.get("MASD_ACTOR"):
        return actor
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry
        return f"uid-{os.getuid()}"


class Registry:
    """Versions of models in a folder. Every public method checks names, so none of them can leave ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def machines(self) -> list[str]:
        """Machine types that have at least one version."""
        folder = self.root / "models"
        names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        return [name for name in names if self.versions(name)]

    def versions(self, machine: str) -> list[str]:
        """Version names of a machine, oldest first."""
        folder = self._folder(machine)
        names = [path.name for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
        return sorted(names, key=int)

    def path(self, machine: str, version: str) -> Path:
        """Folder of a version; it can be loaded as a bundle.

        :raises MasdError: there is no such version.
        """
        folder = self._folder(machine) / version
        if not version.isdigit() or not folder.is_dir():
            known = ", ".join(self.versions(machine)) or "none"
            raise MasdError(f"{self.root}: {machine} has no version {version!r} (versions: {known})")
        return folder

    def channel(self, machine: str, name: Channel) -> str | None:
        """The version a pointer names, or None where it was never set."""
        path = self._folder(machine) / "channels" / f"{name}.json"
        if not path.exists():
            return None
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["version"])
        except (OSError, ValueError, KeyError) as error:
            raise MasdError(
                f"{path}: unreadable pointer ({error}); point it again with masd registry promote"
            ) from error

    def register(
        self,
        bundle: Path,
        *,
        metrics: dict[str, Any],
        reason: str = "",
        build: Callable[[Path, str], None] | None = None,
    ) -> str:
        """Copy a bundle in as a new version, point ``candidate`` at it, and return the version.

        ``build(folder, version)`` may add files (the .mar) to the staged copy before it gets its final name. Two
        that register at once get two versions.
        """
        machine = load_manifest(bundle).machine_type
        folder = self._folder(machine)
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            version = str(max(map(int, self.versions(machine)), default=0) + 1)
            staged = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=folder))
            try:
                shutil.copytree(bundle, staged, dirs_exist_ok=True)
                stamp(staged, version=version, metrics=metrics)
                if build is not None:
                    build(staged, version)
                staged.chmod(0o755)
                staged.rename(folder / version)  # refuses to replace a version that somebody else just made
            except OSError:
                if not (folder / version).exists():
                    raise
                continue
            finally:
                shutil.rmtree(staged, ignore_errors=True)
            break
        self._record("register", machine, version, None, reason, metrics)
        self._point(machine, "candidate", version)
        return version

    def promote(self, machine: str, version: str, *, reason: str, metrics: dict[str, Any] | None = None) -> None:
        """Put a version into production, after checking that it is whole."""
        load_manifest(self.path(machine, version))
        previous = self.channel(machine, "production")
        self._record("promote", machine, version, previous, reason, metrics or {})
        self._point(machine, "production", version)

    def refuse(self, machine: str, version: str, *, reason: str, metrics: dict[str, Any] | None = None) -> None:
        """Record that a candidate may not ship; production stays where it is."""
        self.path(machine, version)
        production = self.channel(machine, "production")
        self._record("refuse", machine, version, production, reason, metrics or {})

    def rollback(self, machine: str, *, reason: str) -> str:
        """Point production at the version that was there before the current one; returns that version.

        :raises MasdError: nothing is in production, or nothing was there before.
        """
        current = self.channel(machine, "production")
        if current is None:
            raise MasdError(f"{self.root}: {machine} has nothing in production to roll back")
        came_from = [
            record["previous"]
            for record in self.audit(machine)
            if record["event"] == "promote"
            and record["version"] == current
            and record["previous"] not in (None, current)
        ]
        if not came_from:
            raise MasdError(f"{self.root}: {machine} has no earlier production version than {current}")
        previous = str(came_from[-1])
        load_manifest(self.path(machine, previous))
        self._record("rollback", machine, previous, current, reason, {})
        self._point(machine, "production", previous)
        return previous

    def audit(self, machine: str) -> list[dict[str, Any]]:
        """All records of a machine, oldest first."""
        folder = self._folder(machine) / "audit"
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]

    def verify(self) -> list[str]:
        """Check every version's digests and every pointer; returns one line per problem."""
        problems: list[str] = []
        for machine in self.machines():
            for version in self.versions(machine):
                try:
                    if load_manifest(self.path(machine, version)).version != version:
                        raise MasdError(f"{self.path(machine, version)}: its manifest names another version")
                except MasdError as error:
                    problems.append(str(error))
            for name in CHANNELS:
                try:
                    if (pointed := self.channel(machine, name)) is not None:
                        self.path(machine, pointed)
                except MasdError as error:
                    problems.append(f"{name} pointer: {error}")
        return problems

    def _folder(self, machine: str) -> Path:
        return self.root / "models" / check_machine_name(machine)

    def _point(self, machine: str, channel: Channel, version: str) -> None:
        content = {"version": version, "time": _now()}
        write_text(self._folder(machine) / "channels" / f"{channel}.json", json.dumps(content) + "\n")

    def _record(
        self,
        event: Event,
        machine: str,
        version: str,
        previous: str | None,
        reason: str,
        metrics: dict[str, Any],
    ) -> None:
        record = AuditRecord(event, machine, version, previous, current_actor(), _now(), reason, metrics)
        stamp_of_time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = self._folder(machine) / "audit" / f"{stamp_of_time}-{event}.json"
        write_text(path, json.dumps(asdict(record), indent=2) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
