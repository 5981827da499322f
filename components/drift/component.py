"""Inference log -> the machines that have drifted and should be trained again."""

from typing import NamedTuple

from kfp import dsl

from components.base import component


@component
def drift(
    machines: list[str],
    log: str,
    data: str,
    registry: str,
    config: str,
    drift: dsl.Output[dsl.Artifact],
) -> NamedTuple("Drift", Output=bool, machines=list[str]):  # type: ignore[valid-type]
    """Compare an inference log with the reference of every machine's production version.

    Args:
        machines: The machine types to check; one without a production version or without a clip in
            the log is skipped.
        log: Inference log: a file, a folder, or s3://bucket/prefix.
        data: URL of the place with one folder per machine type, used if a machine is trained again.
        registry: URL of the model registry.
        config: Settings as YAML, used if a machine is trained again.
        drift: A folder per machine with its drift report, and held_back.json if it has drifted but is not
            trained again.

    Returns:
        Whether any machine is trained again, and which. The first is called Output, because kfp.local treats
        any other name in a single dsl.If as false.
    """
    from pathlib import Path

    from components.step import step

    with step("drift"):
        from masd.config import Settings
        from masd.lifecycle.monitoring import drifted_machines
        from masd.lifecycle.retraining import worth_training

        settings, out = Settings.from_yaml(config, "config"), Path(drift.path)
        drifted = drifted_machines(machines, log, registry, out)
        again = worth_training(drifted, machines, data, registry, settings, out)
        return bool(again), again
