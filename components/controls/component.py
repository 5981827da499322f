"""Feature store -> the controls' scores of one machine's test clips."""

from kfp import dsl

from components.base import component


@component
def controls(
    features: dsl.Input[dsl.Dataset],
    machine: str,
    config: str,
    fingerprint: str,
    scores: dsl.Output[dsl.Artifact],
) -> None:
    """Train the controls of one machine and score its test clips with them.

    Args:
        features: Log-mel stores, including that of the machine.
        machine: The machine type.
        config: Settings as YAML.
        fingerprint: The fingerprint of the recordings. Not read: it only changes the key of Kubeflow's cache.
        scores: The scores of every test clip and the threshold of each control.
    """
    from pathlib import Path

    from components.step import step

    with step("controls", machine):
        from masd.config import Settings
        from masd.lifecycle import steps

        settings = Settings.from_yaml(config, "config")
        steps.controls(Path(features.path), machine, settings, Path(scores.path))
