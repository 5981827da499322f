"""Recordings -> log-mel stores."""

from kfp import dsl

from components.base import component


@component
def featurize(
    data: str,
    machines: list[str],
    config: str,
    fingerprint: str,
    features: dsl.Output[dsl.Dataset],
    only: str = "",
) -> None:
    """Write one log-mel store per machine.

    Args:
        data: URL of the place with one folder per machine type.
        machines: The machine types of this run; none where ``only`` names one.
        config: Settings as YAML.
        fingerprint: The fingerprint of the recordings: stored with the features, part of the key of Kubeflow's cache.
        features: A folder per machine: its log-mel store.
        only: The one machine to read, inside a loop over machines.
    """
    from pathlib import Path

    from components.step import step

    with step("featurize", only or "the fleet"):
        from masd.config import Settings
        from masd.lifecycle import steps

        settings = Settings.from_yaml(config, "config")
        steps.featurize(data, [only] if only else machines, settings, Path(features.path), recordings=fingerprint)
