"""Inference log -> alarms: one check of every machine."""

from kfp import dsl

from components.base import component


@component
def alarms(
    machines: list[str],
    log: str,
    registry: str,
    alarms: dsl.Output[dsl.Artifact],
) -> list[str]:
    """Read what is new in an inference log, and raise alarms.

    Args:
        machines: The machine types to check; one without a production version is skipped.
        log: Inference log: a file, a folder, or s3://bucket/prefix. States and events are kept beside it.
        registry: URL of the model registry.
        alarms: A file alarms.json with the events of this check, the state of each machine after it, and what
            went wrong.

    Returns:
        The machines that are in alarm.
    """
    from pathlib import Path

    from components.step import step

    with step("alarms"):
        from masd.lifecycle.monitoring import machines_in_alarm

        return machines_in_alarm(machines, log, registry, Path(alarms.path))
