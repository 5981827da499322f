"""What is known of a machine after a step, in one row: for ``masd alarms show`` and for Prometheus."""

from dataclasses import dataclass

from masd.alarms.state import MachineState


@dataclass(frozen=True)
class Summary:
    """``evidence``: a normal machine reaches it at most once in so many clips; ``asked``: the clips between two false
    alarms. ``silent``: no clip for longer than usual. ``waiting``: events that have not reached all recipients.
    """

    machine_type: str
    model_version: str
    state: str
    since: str
    acknowledged: bool
    evidence: float
    asked: float
    clips: int
    last_heard: str
    silent: bool
    calibration: dict[str, int]
    passed_over: dict[str, int]
    waiting: int


def summary_of(state: MachineState) -> Summary | None:
    """None while no step has found a version in production."""
    monitor = state.monitor
    if monitor is None:
        return None
    return Summary(
        machine_type=state.machine,
        model_version=monitor.version,
        state=monitor.state,
        since=monitor.since,
        acknowledged=monitor.acknowledged,
        evidence=monitor.evidence,
        asked=monitor.rule.clips,
        clips=monitor.clips,
        last_heard=state.hearing.last,
        silent=state.hearing.silent,
        calibration=monitor.calibration.sizes(),
        passed_over=state.passed_over,
        waiting=len(state.outbox),
    )
