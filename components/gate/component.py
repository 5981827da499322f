"""Evaluation -> may this model ship?"""

from kfp import dsl

from components.base import component


@component
def gate(
    evaluation: dsl.Input[dsl.Artifact],
    data: str,
    registry: str,
    machine: str,
    config: str,
    verdict: dsl.Output[dsl.Artifact],
) -> bool:
    """Compare a candidate with its controls and with the version in production.

    Args:
        evaluation: The candidate's evaluation.
        data: URL of what holds one folder per machine type.
        registry: URL of the model registry.
        machine: The machine type.
        config: Settings as YAML.
        verdict: verdict.json: passed or refused, and why.

    Returns:
        Whether the candidate may ship.
    """
    from pathlib import Path

    from components.step import step

    with step("gate", machine):
        from masd.config import Settings
        from masd.lifecycle import steps

        settings = Settings.from_yaml(config, "config")
        decided = steps.gate(Path(evaluation.path), registry, settings, data, Path(verdict.path))
        return bool(decided.passed)
