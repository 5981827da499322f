"""Feature store and network -> the bundle of one machine."""

from kfp import dsl

from components.base import component


@component
def fit_detectors(
    features: dsl.Input[dsl.Dataset],
    network: dsl.Input[dsl.Model],
    machine: str,
    config: str,
    fingerprint: str,
    bundle: dsl.Output[dsl.Model],
) -> None:
    """Fit the detectors and thresholds of one machine on the outputs of a trained network.

    Args:
        features: Log-mel stores, including that of the machine.
        network: A trained network.
        machine: The machine type.
        config: Settings as YAML.
        fingerprint: The fingerprint of the recordings. Not read: it only changes the key of Kubeflow's cache.
        bundle: All that scoring needs: settings, network, detectors, thresholds, digests.
    """
    from pathlib import Path

    from components.step import step

    with step("fit_detectors", machine):
        from masd.config import Settings
        from masd.lifecycle import steps

        settings = Settings.from_yaml(config, "config")
        steps.fit_detectors(Path(features.path), machine, Path(network.path), settings, Path(bundle.path))
