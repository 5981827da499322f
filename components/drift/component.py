"""Inference log -> which machines have drifted from what their model was trained on, and are worth training again?"""

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
        machines: The machine types to look at; one without a production version or without a clip in
            the log is passed over.
        log: Inference log: a file, a folder, or s3://bucket/prefix.
        data: URL of what holds one folder per machine type: what would be trained on.
        registry: URL of the model registry.
        config: Settings as YAML: what would be trained with.
        drift: A folder per machine: its drift report, and held_back.json where it has drifted but another
            training would end like the last one.

    Returns:
        Whether any machine is to be trained again, and which. The first is called Output, because kfp.local
        takes any other name in a lone dsl.If for false.
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
