"""Inference log -> which machines have drifted from what their model was trained on?"""

from typing import NamedTuple

from kfp import dsl

from components.base import component


@component
def drift(
    machines: list[str],
    log: str,
    registry: str,
    drift: dsl.Output[dsl.Artifact],
) -> NamedTuple("Drift", Output=bool, machines=list[str]):  # type: ignore[valid-type]
    """Compare an inference log with the reference of every machine's production version.

    Args:
        machines: The machine types to look at; one without a production version or without a clip in
            the log is passed over.
        log: Inference log: a file, a folder, or s3://bucket/prefix.
        registry: URL of the model registry.
        drift: A folder per machine: its drift report.

    Returns:
        Whether any machine has drifted, and which. The first is called Output, because kfp.local takes any
        other name in a lone dsl.If for false.
    """
    from pathlib import Path

    from components.step import step

    with step("drift"):
        from masd.lifecycle.monitoring import drifted_machines

        found = drifted_machines(machines, log, registry, Path(drift.path))
        return bool(found), found
