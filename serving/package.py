"""Bundle and verdict -> a version in the registry, with its archive, in production if the gate says so."""

import json
import shutil
from pathlib import Path
from typing import Any

from masd.bundle.manifest import load_manifest
from masd.errors import MasdError
from masd.registry.audit import RunDecision
from masd.registry.registry import Registry
from serving.archive import archive

COMPARISON = "comparison.html"
"""The gate's page in the folder of a version."""


def package(
    bundle: Path, evaluation: Path, verdict: Path, registry: str, *, run: str, comparison: Path | None = None
) -> str:
    """Register a bundle with its ``<machine>.mar`` and act on the gate's verdict; returns the version.

    It is promoted, or kept as the candidate: with a record that it awaits approval, or of why it was refused. The
    archive is built whatever the verdict: a version never changes, and a person may still promote one that was
    refused. Called again for the same bundle, as a retried task does and a run that was answered from Kubeflow's cache,
    it goes on with the version it has registered.

    :param evaluation: the bundle's evaluation folder; its values go into the version's manifest and the
    records.
    :param verdict: the gate's ``verdict.json``.
    :param registry: the registry's URL.
    :param run: the pipeline run's id, for the audit records.
    :param comparison: the gate's page, kept with the version as :data:`COMPARISON`.
    :raises MasdError: a broken bundle, files that are not of the same machine, or a registry that cannot be
    written.
    """
    machine = load_manifest(bundle).machine_type
    decided, measured = _read(verdict, machine), _read(evaluation / "metrics.json", machine)
    metrics = {"system": decided["system"], **measured["systems"][decided["system"]]}
    gate = RunDecision(run, decided["decision"], decided["reason"])
    record: dict[str, Any] = {"reason": decided["sentence"], "metrics": metrics, "gate": gate}
    models = Registry.open(registry)

    def add_archive(folder: Path, version: str) -> None:
        archive(folder, folder / f"{machine}.mar")
        if comparison is not None:
            shutil.copyfile(comparison, folder / COMPARISON)

    if (version := _registered(models, machine, bundle)) is not None:
        models.nominate(machine, version)  # in case the task was killed just before
    else:
        version = models.register(bundle, build=add_archive, **record)
    if decided["decision"] == "refuse":
        models.refuse(machine, version, **record)
    elif models.channel(machine, "production") != version:
        act = models.ask if decided["decision"] == "ask" else models.promote
        act(machine, version, **record)
    elif not any(earlier["run"] == run for earlier in models.audit(machine, "promote")):
        # Kubeflow's cache has answered with the bundle that serves: this run leaves its record like any other.
        models.promote(machine, version, **record)
    return version


def _registered(models: Registry, machine: str, bundle: Path) -> str | None:
    """The newest version, if it is this very bundle: same files, made at the same time."""
    for version in models.versions(machine)[-1:]:
        known, given = models.manifest(machine, version), load_manifest(bundle)
        if (known.files, known.created) == (given.files, given.created):
            return version
    return None


def _read(file: Path, machine: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if content["machine_type"] != machine:
        raise MasdError(f"{file}: is about {content['machine_type']}, but the bundle is a model of {machine}")
    return content
