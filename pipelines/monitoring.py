"""The monitoring pipeline: raise alarms, check for drift, and retrain the drifted machines that need it."""

from typing import Any

from kfp import dsl

from components.alarms import alarms
from components.drift import drift
from masd.config import Settings
from pipelines.placement import MOUNT, Place
from pipelines.training import DATA, REGISTRY, default_config, training_pipeline


def monitoring_pipeline(settings: Settings, place: Place) -> Any:
    """A pipeline ``(machines, log, data, registry, config)``: an alarm step, and beside it a check for drift, then
    training of the machines that need it.

    With scope "machine" the machines that have drifted are trained again; with scope "fleet" all machines of the run,
    because they share one network. A machine is skipped if the result would be the same as last time: see
    :mod:`masd.lifecycle.retraining`.
    """
    scope = settings.training.scope
    training = training_pipeline(settings, place)

    def monitoring(
        machines: list[str],
        log: str = f"{MOUNT}/log",
        data: str = DATA,
        registry: str = REGISTRY,
        config: str = default_config(settings),
    ) -> None:
        place(alarms(machines=machines, log=log, registry=registry), alone=True)
        looked = drift(machines=machines, log=log, data=data, registry=registry, config=config)
        found = place(looked, alone=True)
        with dsl.If(found.outputs["Output"] == True, name="drifted"):  # noqa: E712 - kfp records it
            again = found.outputs["machines"] if scope == "machine" else machines
            task = training(machines=again, data=data, registry=registry, config=config)
            task.set_caching_options(False)  # its tasks have their own, see placement

    name = "masd-monitoring" if scope == "machine" else "masd-fleet-monitoring"
    return dsl.pipeline(name=name, description="Raise alarms; retrain the machines whose sound has drifted.")(
        monitoring
    )
