"""Inference log -> which machines have drifted from what their model was trained on?"""

from typing import NamedTuple

from kfp import dsl

from components.base import component


@component
def drift(
    machines: list[str],
    log: str,
    registry: str,
    drift: dsl.Output[dsl.Artifact],
) -> NamedTuple("Drift", Output=bool, machines=list[str]):  # type: ignore[valid-type]
    """Compare an inference log with the reference of every machine's production version.

    Args:
        machines: The machine types to look at; one without a production version is passed over.
        log: Inference log: a file, or a folder of them.
        registry: Root of the model registry.
        drift: A folder per machine: its drift report.

    Returns:
        Whether any machine has drifted, and which. The first is called Output, because kfp.local takes any
        other name in a lone dsl.If for false.
    """
    from pathlib import Path

    from components.step import step

    with step("drift"):
        from masd.lifecycle.drift import check_drift
        from masd.lifecycle.drift_log import NothingLoggedError
        from masd.lifecycle.registry import Registry

        out = Path(drift.path)
        out.mkdir(parents=True, exist_ok=True)
        models, found = Registry(Path(registry)), []
        for machine in machines:
            version = models.channel(machine, "production")
            if version is None:
                print(f"{machine}: no version in production, nothing to compare with")
                continue
            try:
                verdict = check_drift(models.path(machine, version), Path(log), out / machine)
            except NothingLoggedError as idle:
                print(f"{machine}: {idle}")
                continue
            if verdict.verdict == "drift":
                found.append(machine)
        return bool(found), found
