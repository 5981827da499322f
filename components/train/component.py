"""Log-mel stores -> one trained network."""

from kfp import dsl

from components.base import component


@component
def train(
    features: dsl.Input[dsl.Dataset],
    machines: list[str],
    config: str,
    fingerprint: str,
    network: dsl.Output[dsl.Model],
    only: str = "",
) -> None:
    """Train one network in two stages, on a GPU if the task has one.

    Args:
        features: Log-mel stores of the machines.
        machines: The machine types of this run, trained on together; none where ``only`` names one.
        config: Settings as YAML.
        fingerprint: The fingerprint of the recordings. Not read: it only changes the key of Kubeflow's cache.
        network: The trained network and its history.
        only: The one machine to train on, inside a loop over machines.
    """
    from pathlib import Path

    from components.step import step

    with step("train", only or "the fleet"):
        from masd.config import Settings
        from masd.lifecycle import steps

        settings = Settings.from_yaml(config, "config")
        steps.train(Path(features.path), [only] if only else machines, settings, Path(network.path))
