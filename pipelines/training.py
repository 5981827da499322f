"""The training pipeline, in the two shapes of ``training.scope``."""

import json
from typing import Any

from kfp import dsl

from components.controls import controls
from components.evaluate import evaluate
from components.featurize import featurize
from components.fingerprint import fingerprint
from components.fit_detectors import fit_detectors
from components.gate import gate
from components.package import package
from components.report import report
from components.train import train
from masd.config import Settings
from pipelines.placement import MOUNT, Place

DATA = f"{MOUNT}/data"
REGISTRY = f"{MOUNT}/registry"


def training_pipeline(settings: Settings, place: Place) -> Any:
    """A pipeline ``(machines, data, registry, config)``: train, gate, package and report. ``training.scope`` decides
    its shape: one network per machine, or one for all machines of the run. ``settings`` are also the default of
    ``config``; another ``config`` must have the same scope.
    """
    shape = {"machine": _machine_scope, "fleet": _fleet_scope}[settings.training.scope]
    return shape(settings, place)


def default_config(settings: Settings) -> str:
    """The settings that differ from masd's defaults, and the scope, as YAML for the form on the run's page. It is one
    line of JSON, because kfp repeats defaults in a comment of the compiled file, which a second line would break.
    """
    values = settings.model_dump(mode="json", exclude_defaults=True)
    values.setdefault("training", {})["scope"] = settings.training.scope
    return json.dumps(values)


def _machine_scope(settings: Settings, place: Place) -> Any:
    def training(
        machines: list[str],
        data: str = DATA,
        registry: str = REGISTRY,
        config: str = default_config(settings),
    ) -> None:
        with dsl.ParallelFor(machines, name="machines") as machine:
            # No list of machines: it would be in the cache's key, and the same machine of another run be new.
            recordings = place(fingerprint(data=data, machines=[], only=machine)).output
            made_of = {"machines": [], "only": machine, "config": config, "fingerprint": recordings}
            features = place(featurize(data=data, **made_of)).output
            network = place(train(features=features, **made_of)).output
            judged = _judge_and_ship(place, features, network, machine, data, registry, config, recordings)
        _report(place, *judged)

    return dsl.pipeline(name="masd-training", description="One network per machine.")(training)


def _fleet_scope(settings: Settings, place: Place) -> Any:
    def training(
        machines: list[str],
        data: str = DATA,
        registry: str = REGISTRY,
        config: str = default_config(settings),
    ) -> None:
        recordings = place(fingerprint(data=data, machines=machines), alone=True).output
        made_of = {"machines": machines, "config": config, "fingerprint": recordings}
        features = place(featurize(data=data, **made_of), alone=True).output
        network = place(train(features=features, **made_of), alone=True).output
        with dsl.ParallelFor(machines, name="machines") as machine:
            judged = _judge_and_ship(place, features, network, machine, data, registry, config, recordings)
        _report(place, *judged)

    return dsl.pipeline(name="masd-fleet-training", description="One network for all machines.")(training)


def _judge_and_ship(
    place: Place, features: Any, network: Any, machine: Any, data: Any, registry: Any, config: Any, recordings: Any
) -> tuple[Any, Any, Any]:
    """The part of the loop that both shapes share; returns the evaluation, the verdict and the comparison."""
    made_of = {"machine": machine, "config": config, "fingerprint": recordings}
    bundle = place(fit_detectors(features=features, network=network, **made_of)).output
    beside = place(controls(features=features, **made_of)).output
    evaluated = place(evaluate(bundle=bundle, features=features, controls=beside, data=data, **made_of))
    evaluation = evaluated.outputs["evaluation"]
    judged = {"evaluation": evaluation, "features": features, "data": data}
    judgement = place(gate(**judged, registry=registry, machine=machine, config=config))
    verdict = judgement.outputs["verdict"]
    candidate = {
        "bundle": bundle,
        "evaluation": evaluation,
        "verdict": verdict,
        "comparison": judgement.outputs["comparison"],
        "registry": registry,
        "machine": machine,
        # A parameter of its own: the back-end replaces a placeholder only where it is the whole value.
        "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    }
    decision = judgement.outputs["Output"]
    with dsl.If(decision == "promote", name="passed"):
        place(package(**candidate)).set_display_name("promote")
    with dsl.Elif(decision == "ask", name="asked"):
        place(package(**candidate)).set_display_name("await approval")
    with dsl.Else(name="refused"):
        place(package(**candidate)).set_display_name("keep candidate")
    return evaluation, verdict, judgement.outputs["comparison"]


def _report(place: Place, evaluation: Any, verdict: Any, comparison: Any) -> None:
    gathered = {"evaluations": evaluation, "verdicts": verdict, "comparisons": comparison}
    place(report(**{name: dsl.Collected(output) for name, output in gathered.items()}), alone=True)
