"""Bundle, log-mel store and the controls' scores -> the evaluation of one machine."""

from kfp import dsl

from components.base import component


@component
def evaluate(
    bundle: dsl.Input[dsl.Model],
    features: dsl.Input[dsl.Dataset],
    controls: dsl.Input[dsl.Artifact],
    data: str,
    machine: str,
    config: str,
    fingerprint: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Score a machine's test clips with its bundle and compare with the controls.

    Args:
        bundle: The machine's bundle.
        features: Log-mel stores, including that of the machine.
        controls: The controls' scores of the same test clips.
        data: URL of the place with one folder per machine type; the report plays clips from it.
        machine: The machine type.
        config: Settings as YAML. Not read, because the bundle has its own; part of the key of Kubeflow's cache.
        fingerprint: The fingerprint of the recordings. Not read: it only changes the key of Kubeflow's cache.
        evaluation: metrics.json, result files of every system, scores.parquet, report.html.
        metrics: The harmonic mean of every system, for the run's page and for comparing runs.
    """
    from pathlib import Path

    from components.step import step

    with step("evaluate", machine):
        import json

        from masd.lifecycle import steps

        out = Path(evaluation.path)
        steps.evaluate(Path(bundle.path), Path(features.path), Path(controls.path), data, machine, out)
        for name, system in json.loads((out / "metrics.json").read_text(encoding="utf-8"))["systems"].items():
            if system["hmean"] is not None:
                metrics.log_metric(f"hmean {name}", system["hmean"])
