"""The simulated makespan: exact where it can be computed by hand, within the bounds of scheduling theory elsewhere."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.makespan import CHAIN, Cluster, main, simulate, step_seconds
from components.step import StepLine
from masd.errors import MasdError
from masd.progress import MARK

STEPS = {
    "fingerprint": 3.0,
    "featurize": 20.0,
    "train": 100.0,
    "fit_detectors": 10.0,
    "controls": 30.0,
    "evaluate": 10.0,
    "gate": 5.0,
    "package": 1.0,
}
ALONE = sum(STEPS.values())


def _line(name: str, machine: str, state: str, seconds: float | None = None, error: str = "") -> str:
    return f"    {MARK}{json.dumps(asdict(StepLine(name, machine, state, seconds, error)))}"


def _log(folder: Path) -> Path:
    lines = []
    for machine, factor in (("fan", 0.5), ("valve", 1.5)):
        for name in CHAIN:
            lines += [_line(name, machine, "started"), _line(name, machine, "done", STEPS[name] * factor)]
    lines.append(_line("report", "", "done", 2.0))
    path = folder / "pipeline.log"
    path.write_text("\n".join(lines))
    return path


def test_step_times_are_means_over_the_machines_of_a_run(tmp_path: Path) -> None:
    assert step_seconds(_log(tmp_path)) == pytest.approx(STEPS)


def test_a_log_without_a_step_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.log"
    lines = [_line("fingerprint", "fan", "done", 0.1), _line("featurize", "fan", "done", 1.0)]
    path.write_text("\n".join([*lines, _line("train", "fan", "failed", error="no")]))
    with pytest.raises(MasdError, match="no step train, fit_detectors"):
        step_seconds(path)
    with pytest.raises(MasdError, match=r"give the pipeline\.log of a run"):
        step_seconds(tmp_path / "absent")


def test_one_machine_takes_its_steps_one_after_the_other() -> None:
    assert simulate(1, STEPS, Cluster(overhead_s=0.0)).seconds == ALONE
    assert simulate(1, STEPS, Cluster(overhead_s=7.0)).seconds == ALONE + 8 * 7.0


def test_with_room_for_all_a_fleet_takes_as_long_as_one_machine() -> None:
    assert simulate(50, STEPS, Cluster(gpus=50, cpu_slots=50, overhead_s=0.0)).seconds == ALONE


def test_one_machine_at_a_time() -> None:
    assert simulate(7, STEPS, Cluster(at_once=1, overhead_s=0.0)).seconds == 7 * ALONE


def test_where_gpus_are_short_they_never_rest_between_first_and_last() -> None:
    """By hand: two short steps before the first training, five behind the last one."""
    result = simulate(40, STEPS, Cluster(gpus=4, cpu_slots=40, overhead_s=0.0))
    assert result.seconds == 23.0 + 10 * 100.0 + 56.0
    assert result.gpu_hours == pytest.approx(40 * 100.0 / 3600)


def test_trainings_that_share_a_gpu_at_no_loss_halve_its_hours() -> None:
    alone = simulate(40, STEPS, Cluster(gpus=2, per_gpu=1, cpu_slots=40))
    shared = simulate(40, STEPS, Cluster(gpus=2, per_gpu=2, cpu_slots=40))
    assert shared.gpu_hours == pytest.approx(alone.gpu_hours / 2)
    assert shared.seconds < alone.seconds


def test_without_gpus_everything_takes_cpu_slots() -> None:
    result = simulate(8, STEPS, Cluster(gpus=0, cpu_slots=2, overhead_s=0.0))
    assert result.gpu_hours == 0.0
    assert result.cpu_slot_hours == pytest.approx(8 * ALONE / 3600)
    assert result.seconds == 4 * ALONE


@given(
    machines=st.integers(1, 30),
    seconds=st.fixed_dictionaries({name: st.floats(0.1, 100.0) for name in CHAIN}),
    cluster=st.builds(
        Cluster,
        gpus=st.integers(1, 5),
        per_gpu=st.integers(1, 3),
        cpu_slots=st.integers(1, 9),
        at_once=st.integers(1, 30),
    ),
)
def test_between_what_no_schedule_beats_and_one_machine_after_the_other(
    machines: int, seconds: dict[str, float], cluster: Cluster
) -> None:
    result = simulate(machines, seconds, cluster)
    alone = sum(seconds.values()) + len(CHAIN) * cluster.overhead_s
    train = seconds["train"] + cluster.overhead_s
    bounds = (
        alone,
        machines * train / (cluster.gpus * cluster.per_gpu),
        machines * (alone - train) / cluster.cpu_slots,
        math.ceil(machines / cluster.at_once) * train,
    )
    assert max(bounds) <= result.seconds * (1 + 1e-9)
    assert result.seconds <= machines * alone * (1 + 1e-9)


def test_the_command_prints_hours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(_log(tmp_path)), "--machines", "10", "--gpus", "0", "--cpu-slots", "10", "--overhead", "0"]) == 0
    assert "10 machine types: 0.05 h, 0.0 GPU hours, 0.5 CPU slot hours" in capsys.readouterr().out
    assert main([str(tmp_path / "absent")]) == 1
