"""Submit a pipeline to a cluster, once or on a schedule, and read the decisions of its gates."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from masd.bundle.manifest import code_version
from masd.config import Settings
from masd.errors import MasdError
from masd.registry.registry import Registry
from pipelines.cluster.client import KubeflowClient, version_name
from pipelines.compile import compile_pipelines
from pipelines.jobs import PipelineName
from pipelines.local.process import Say

EXPERIMENT = "masd"


def upload(
    cluster: KubeflowClient, pipeline: PipelineName, settings: Settings, say: Say
) -> tuple[tuple[str, str], str]:
    """Compile with ``settings`` and upload; returns the ids of pipeline and version, and a name for its runs."""
    with TemporaryDirectory(prefix="masd-submit-") as folder:
        compile_pipelines(Path(folder), settings)
        package = Path(folder, f"{pipeline}.yaml")
        with package.open(encoding="utf-8") as file:
            name = next(yaml.safe_load_all(file))["pipelineInfo"]["name"]
        version = version_name(package, code_version())
        ids = cluster.upload(package, name, version)
    say(f"{name}: version {version}")
    return ids, f"{name} {version}"


def arguments_of(machines: Sequence[str], **places: str | None) -> dict[str, Any]:
    """The pipeline's arguments; places that are not given keep the defaults it was compiled with."""
    return {"machines": list(machines)} | {name: place for name, place in places.items() if place is not None}


def verdicts(registry: str, machines: Sequence[str], run_id: str) -> list[dict[str, Any]]:
    """The audit records of a run's packaging steps, one per machine that it has trained. Kubeflow does not return the
    outputs of tasks, so they are read from the registry.

    :raises MasdError: the registry cannot be read, or knows nothing of the run.
    """
    models = Registry.open(registry)
    found = [
        record
        for machine in machines
        for record in models.audit(machine, "promote", "ask", "refuse")
        if record["run"] == run_id
    ]
    latest = {record["machine_type"]: record for record in found}
    return [latest[machine] for machine in machines if machine in latest]


def follow(
    cluster: KubeflowClient, run_id: str, machines: Sequence[str], registry: str | None, say: Say, *, timeout_s: float
) -> list[dict[str, Any]] | None:
    """Wait for a training or monitoring run; returns :func:`verdicts`, or None if no registry is given.

    :raises MasdError: see :meth:`KubeflowClient.wait` and :func:`verdicts`.
    """
    cluster.wait(run_id, say, timeout_s=timeout_s)
    if registry is None or not (registry.startswith("s3://") or Path(registry).is_dir()):
        return None
    return verdicts(registry, machines, run_id)


def require(found: list[dict[str, Any]], machines: Sequence[str], registry: str, run_id: str) -> None:
    """:raises MasdError: a training run has left no record of some machine."""
    if missing := sorted(set(machines) - {record["machine_type"] for record in found}):
        raise MasdError(
            f"{registry}: run {run_id} has succeeded, but left no record of {', '.join(missing)}; is it the registry "
            "that the run writes to?"
        )
