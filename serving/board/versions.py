"""A machine's versions: what the gate said of each, who moved what, and where its comparison is."""

from dataclasses import dataclass, field
from typing import Any

from masd.errors import MasdError
from masd.registry.layout import numbered, whole
from masd.registry.registry import Registry
from serving.package import COMPARISON

DECISIONS = ("promote", "ask", "refuse")


@dataclass
class VersionRow:
    """``decision`` is the gate's, empty where no gate was asked; ``records`` are the audit records, newest first."""

    version: str
    created: str = ""
    hmean: float | None = None
    code: str = ""
    production: bool = False
    candidate: bool = False
    decision: str = ""
    decision_reason: str = ""
    has_comparison: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Versions:
    """Newest first; ``earlier`` is what a rollback would bring back."""

    rows: list[VersionRow]
    production: str | None
    earlier: str | None
    audit: list[dict[str, Any]]
    problems: list[str]


def versions_of(models: Registry, machine: str) -> Versions:
    """All that the registry says of a machine; what cannot be read is among ``problems``, or in its row."""
    problems: list[str] = []

    def tried(look: Any, instead: Any) -> Any:
        try:
            return look()
        except MasdError as error:
            problems.append(str(error))
            return instead

    numbers = tried(lambda: numbered(models.store, machine), {})
    production = tried(lambda: models.channel(machine, "production"), None)
    candidate = tried(lambda: models.channel(machine, "candidate"), None)
    audit = tried(lambda: models.audit(machine), [])
    history = tried(lambda: models.history(machine), [])
    rows = [
        _row(models, machine, version, numbers[version].keys(), production, candidate, audit)
        for version in reversed(whole(numbers))
    ]
    if production is not None and numbers and production not in whole(numbers):
        problems.append(f"version {production} is in production but not in the registry: promote another one")
    return Versions(rows, production, history[1] if len(history) > 1 else None, audit[::-1], problems)


def _row(
    models: Registry,
    machine: str,
    version: str,
    files: Any,
    production: str | None,
    candidate: str | None,
    audit: list[dict[str, Any]],
) -> VersionRow:
    records = [record for record in reversed(audit) if record.get("version") == version]
    row = VersionRow(version, production=version == production, candidate=version == candidate, records=records)
    row.has_comparison = COMPARISON in files
    judged = [record for record in records if record.get("decision") in DECISIONS]
    if judged:
        row.decision, row.decision_reason = judged[0]["decision"], judged[0]["decision_reason"]
    try:
        manifest = models.manifest(machine, version)
    except MasdError as error:
        row.problem = str(error)
        return row
    hmean = manifest.metrics.get("hmean")
    row.created, row.code = manifest.created, manifest.code_version
    row.hmean = hmean if isinstance(hmean, float) else None
    return row
