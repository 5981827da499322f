"""The pipelines through kfp.local, with stubs for the work: what is run, what is told, what is left where."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from masd.cli.main import main
from masd.config import Settings
from masd.errors import MasdError
from pipelines.local.run import MonitoringRun, TrainingRun, run_monitoring, run_training

pytestmark = pytest.mark.slow

STUBS = Path(__file__).parent / "stubs"


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(STUBS), os.environ.get("PYTHONPATH", "")])))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def _data(tmp_path: Path, machines: list[str]) -> Path:
    for machine in machines:
        for name in ("train/1.wav", "train/2.wav", "train/3.wav", "test/normal/1.wav"):
            path = tmp_path / "data" / machine / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"a recording")
    return tmp_path / "data"


def _train(tmp_path: Path, machines: list[str], scope: str = "machine", said: list[str] | None = None) -> TrainingRun:
    settings = Settings.load(None, [f"training.scope={scope}"])
    say = (said if said is not None else []).append
    return run_training(_data(tmp_path, machines), machines, settings, tmp_path / "out", say=say)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_both_verdicts_end_in_the_registry_and_the_report(tmp_path: Path) -> None:
    said: list[str] = []
    run = _train(tmp_path, ["fan", "refused-valve"], said=said)

    assert [(verdict.machine, verdict.decision) for verdict in run.verdicts] == [
        ("fan", "promote"),
        ("refused-valve", "refuse"),
    ]
    assert run.verdicts[1].sentence == "refused-valve: bad"
    out = tmp_path / "out"
    results = {"comparison.html", "metrics.json", "network.json", "verdict.json"}
    assert _files(out) == {
        "pipeline.log",
        "report.html",
        "summary.json",
        *(f"{machine}/{name}" for machine in ("fan", "refused-valve") for name in results),
        *(f"registry/models/{machine}/1" for machine in ("fan", "refused-valve")),
    }
    records = {m: json.loads((out / f"registry/models/{m}/1").read_text()) for m in ("fan", "refused-valve")}
    assert {machine: record["passed"] for machine, record in records.items()} == {
        "fan": True,
        "refused-valve": False,
    }
    (run_id,) = {record["run"] for record in records.values()}
    assert re.fullmatch(r"[^,{}]+", run_id)
    steps = ["fingerprint", "featurize", "train", "fit_detectors", "evaluate", "gate", "package"]
    assert [line for line in said if "of fan started" in line and not line.startswith("controls")] == [
        f"{step} of fan started" for step in steps
    ]
    assert "controls of fan started" in said  # beside the training
    assert "report started" in said
    assert "\x1b" not in run.log.read_text(encoding="utf-8")


def test_manual_approval_asks_and_refuses_nothing(tmp_path: Path) -> None:
    settings = Settings.load(None, ["gate.approval=manual"])
    run = run_training(_data(tmp_path, ["fan"]), [], settings, tmp_path / "out", say=list[str]().append)
    assert [(verdict.decision, verdict.refused) for verdict in run.verdicts] == [("ask", False)]
    record = json.loads((tmp_path / "out/registry/models/fan/1").read_text())
    assert record["decision"] == "ask"


def _earlier_run(out: Path, machine: str) -> None:
    """What a run left behind, one that had failed after that, and its registry."""
    (out / machine).mkdir(parents=True)
    (out / machine / "metrics.json").write_text("{}")
    (out / machine / "verdict.json").write_text("{}")
    (out / "steps" / "masd-training-1").mkdir(parents=True)
    (out / "registry" / "models" / machine).mkdir(parents=True)
    (out / "registry" / "models" / machine / "1").write_text("")


def test_fleet_trains_once_on_all_and_replaces_the_results_of_a_run_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _earlier_run(out, "pump")
    run = _train(tmp_path, ["fan", "valve"], "fleet")

    assert sorted(path.parent.name for path in out.rglob("metrics.json")) == ["fan", "valve"]  # no pump, no copies
    assert _files(out / "registry") == {"models/pump/1", "models/fan/1", "models/valve/1"}
    assert not (out / "steps").exists()
    assert [verdict.machine for verdict in run.verdicts] == ["fan", "valve"]
    network = json.loads((out / "fan" / "network.json").read_text())
    assert network == {"trained_on": ["fan", "valve"], "threads": str(len(os.sched_getaffinity(0)))}


def test_a_failed_step_is_named_and_can_be_looked_at(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _earlier_run(out, "pump")
    with pytest.raises(MasdError) as caught:
        _train(tmp_path, ["broken-fan"])

    assert str(caught.value) == (
        "train of broken-fan failed: broken-fan: loss is not a number; lower training.learning_rate; "
        f"the steps so far are in {out}/steps, the log in {out}/pipeline.log"
    )
    assert list(out.glob("steps/masd-training-*/for-loop-*-iteration-0/featurize/features/broken-fan"))
    assert "Traceback" in (out / "pipeline.log").read_text(encoding="utf-8")
    assert not list(out.glob("steps/**/.kfp_cache"))  # nothing is cached on one machine
    assert (out / "pump" / "metrics.json").is_file()


@pytest.fixture
def stub_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub writes the report here too: evaluations of stubs have no areas."""
    scope: dict[str, object] = {}
    exec((STUBS / "summary.py").read_text(), scope)
    monkeypatch.setattr("masd.evaluation.pages.summary.write_summary", scope["write_summary"])


@pytest.mark.usefixtures("stub_summary")
def test_one_failed_machine_does_not_cost_the_others_their_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MasdError, match=rf"^train of broken-fan failed.*the report of the other machines is {out}"):
        _train(tmp_path, ["broken-fan", "valve"])
    assert _files(out / "registry") == {"models/valve/1"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["machines"] == ["valve"] and list(summary["failed"]) == ["broken-fan"]
    assert (out / "valve" / "verdict.json").is_file() and (out / "report.html").is_file()
    assert list(out.glob("steps/masd-training-*"))


@pytest.mark.usefixtures("stub_summary")
def test_machines_that_cannot_be_trained_are_left_out_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _data(tmp_path, ["valve", "my pump 1", "few", "faulty", "untested", "drift"])
    for path in (data / "few/train/2.wav", data / "few/train/3.wav", data / "untested/test/normal/1.wav"):
        path.unlink()
    (data / "faulty/train/anomaly_3.wav").write_bytes(b"a recording")
    assert main(["pipeline", "run", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    told, said = capsys.readouterr()
    reasons = {
        "my pump 1": "use letters",
        "few": "cut long recordings",
        "faulty": "anomaly_3.wav: is anomalous by its name or folder",
        "untested": "no test clips",
        "drift": "no machine can be named drift",
    }
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["machines"] == ["valve"] and set(summary["failed"]) == set(reasons)
    for machine, reason in reasons.items():
        assert reason in summary["failed"][machine]
        assert f"{machine}: not trained: " in told
        assert said.index(f"{machine} is left out: ") < said.index("fingerprint of valve started")
    assert "valve: good" in told
    assert not (tmp_path / "out/steps").exists()


@pytest.mark.usefixtures("stub_summary")
def test_a_machine_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    run = run_training(_data(tmp_path, ["fan"]), ["fan", "pump"], Settings(), tmp_path / "out", say=list[str]().append)
    assert [(one.machine, "has no machine pump; it has fan" in one.reason) for one in run.failed] == [("pump", True)]


def test_nothing_is_started_where_no_machine_can_be_trained(tmp_path: Path) -> None:
    data = _data(tmp_path, ["my pump 1", "pump 2"])
    with pytest.raises(MasdError, match=r"my pump 1.*pump 2"):
        run_training(data, [], Settings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(MasdError, match=r"^train of killed-fan ended without an error message"):
        _train(tmp_path, ["killed-fan"])


def test_a_step_that_never_said_it_was_done_has_failed_whatever_its_status(tmp_path: Path) -> None:
    with pytest.raises(MasdError, match=r"^package of silent-fan ended without an error message"):
        _train(tmp_path, ["silent-fan"])
    assert not (tmp_path / "out" / "report.html").exists()


def test_no_such_machine(tmp_path: Path) -> None:
    data = _data(tmp_path, ["fan"])
    with pytest.raises(MasdError, match="has no machine pump; it has fan"):
        run_training(data, ["pump"], Settings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_machine_cannot_take_the_registrys_place(tmp_path: Path) -> None:
    with pytest.raises(MasdError, match="can be named registry"):
        _train(tmp_path, ["registry"])


def test_a_folder_that_is_no_result_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out" / "fan").mkdir(parents=True)
    with pytest.raises(MasdError, match="exists, but is not the result of a run"):
        _train(tmp_path, ["fan"])


def test_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with (out / "pipeline.log").open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(MasdError, match="another run is writing there"):
            _train(tmp_path, ["fan"])


def test_sigterm_takes_the_tasks_along(tmp_path: Path) -> None:
    data, out = _data(tmp_path, ["slow-fan"]), tmp_path / "out"
    code = (
        "from pathlib import Path\nfrom masd.config import Settings\nfrom pipelines.local.run import run_training\n"
        f"run_training(Path({str(data)!r}), [], Settings(), Path({str(out)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        pid = _wait_for_pid(out)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 5
    while Path("/proc", str(pid)).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path("/proc", str(pid)).exists()


def _wait_for_pid(out: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in out.glob("steps/masd-*/for-loop-*/train/pid"):
            if text := path.read_text():
                return int(text)
        time.sleep(0.05)
    raise AssertionError("training never started")


def test_nobody_waits_for_kfp_before_it_is_needed() -> None:
    code = "import sys, masd.cli.main, pipelines.local.run; sys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _monitor(tmp_path: Path, drifted: str, scope: str = "machine") -> MonitoringRun:
    log = tmp_path / "log.txt"
    log.write_text(drifted)
    machines = ["fan", "valve", "new-pump"]
    settings = Settings.load(None, [f"training.scope={scope}"])
    out, data, said = tmp_path / "out", _data(tmp_path, machines), list[str]()
    return run_monitoring(data, machines, log, settings, out, registry=str(out / "registry"), say=said.append)


def test_monitoring_trains_nothing_without_drift(tmp_path: Path) -> None:
    run = _monitor(tmp_path, "nothing")
    assert run.training is None
    out = tmp_path / "out"
    assert _files(out) == {
        *("pipeline.log", "alarms/alarms.json", "drift/fan/verdict.json", "drift/valve/verdict.json"),
    }


def test_monitoring_trains_what_has_drifted(tmp_path: Path) -> None:
    run = _monitor(tmp_path, "valve")
    assert run.training is not None
    assert [verdict.machine for verdict in run.training.verdicts] == ["valve"]
    assert json.loads((run.drift / "valve" / "verdict.json").read_text())["verdict"] == "drift"


def test_the_same_recordings_twice_start_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _data(tmp_path, ["refused-valve"])
    clip = data / "refused-valve" / "train" / "a.wav"
    clip.write_bytes(b"one")
    command = ["pipeline", "run", "--once", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main(command) == 3
    assert "refused-valve: bad" in capsys.readouterr().out
    assert main(command) == 3  # the same answer, for the job that asks again
    said = capsys.readouterr().out
    assert (
        said.startswith("nothing was started: a run for the same recordings has already ended; ")
        and "refused-valve: bad" in said
    )
    versions = tmp_path / "out" / "registry" / "models" / "refused-valve"
    assert [path.name for path in versions.iterdir()] == ["1"]
    clip.write_bytes(b"two")
    assert main(command) == 3
    assert len(list(versions.iterdir())) == 2


def test_the_same_window_of_the_log_twice_starts_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, log = _data(tmp_path, ["fan", "valve"]), tmp_path / "log.txt"
    log.write_text("valve alarm-fan")
    (data / "fan" / "train" / "a.wav").write_bytes(b"one")
    registry = str(tmp_path / "registry")
    command = ["pipeline", "monitor", "--once", "--data", str(data), "--log", str(log), "--registry", registry]
    command += ["--out", str(tmp_path / "out")]
    assert main(command) == main(command) == 0
    first, second = capsys.readouterr().out.split(
        "nothing was started: a run for the same window of the log has already ended; "
    )
    assert "in alarm: fan since 2026-01-05T00:00:00+00:00\n" in first
    assert "valve: looked at" in first and "valve: good" in first and "valve: good" in second
    assert [path.name for path in (tmp_path / "registry" / "models" / "valve").iterdir()] == ["1"]


def test_a_failed_run_does_not_use_up_its_trigger(tmp_path: Path) -> None:
    data = _data(tmp_path, ["broken-fan"])
    (data / "broken-fan" / "train" / "a.wav").write_bytes(b"one")
    command = ["pipeline", "run", "--once", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main(command) == main(command) == 1
    (record,) = (tmp_path / "out" / "registry" / "triggers").glob("*.json")
    content = json.loads(record.read_text())
    assert (content["state"], content["attempt"]) == ("failed", 2)
    assert content["outcome"].startswith("train of broken-fan failed: broken-fan: loss is not a number")
