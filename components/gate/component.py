"""Evaluation -> the decision whether this model may go into production."""

from kfp import dsl

from components.base import component


@component
def gate(
    evaluation: dsl.Input[dsl.Artifact],
    features: dsl.Input[dsl.Dataset],
    data: str,
    registry: str,
    machine: str,
    config: str,
    verdict: dsl.Output[dsl.Artifact],
    comparison: dsl.Output[dsl.HTML],
) -> str:
    """Compare a candidate with its controls and with the version in production.

    Args:
        evaluation: The candidate's evaluation.
        features: Log-mel stores, including that of the machine: the version in production scores the same clips.
        data: URL of the place with one folder per machine type; the page plays clips from it.
        registry: URL of the model registry.
        machine: The machine type.
        config: Settings as YAML.
        verdict: verdict.json: what was decided, and why.
        comparison: A page with candidate and production version side by side.

    Returns:
        What follows: "promote", "ask" (a person has to approve) or "refuse".
    """
    from pathlib import Path

    from components.step import step

    with step("gate", machine):
        from masd.config import Settings
        from masd.lifecycle import steps

        settings = Settings.from_yaml(config, "config")
        judged, files = (Path(evaluation.path), Path(features.path)), (Path(verdict.path), Path(comparison.path))
        decided = steps.gate(*judged, registry, settings, data, *files)
        return str(decided.decision)
