"""Bundle and verdict -> a version in the registry."""

from kfp import dsl

from components.base import component


@component
def package(
    bundle: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    comparison: dsl.Input[dsl.HTML],
    registry: str,
    machine: str,
    run_id: str,
) -> str:
    """Register the bundle with its model archive; put it into production if the verdict says so.

    Args:
        bundle: The machine's bundle.
        evaluation: Its evaluation.
        verdict: The gate's verdict on it.
        comparison: The gate's page, which is kept with the version.
        registry: URL of the model registry.
        machine: The machine type.
        run_id: The id of the pipeline run, written to the audit records.

    Returns:
        The new version.
    """
    from pathlib import Path

    from components.step import step

    with step("package", machine):
        from serving.package import package

        paths = Path(bundle.path), Path(evaluation.path), Path(verdict.path)
        return str(package(*paths, registry, run=run_id, comparison=Path(comparison.path)))
