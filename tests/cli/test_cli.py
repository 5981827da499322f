"""The commands as a user types them: what they print, leave behind and answer to the shell."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY_OVERRIDES

from masd.bundle.bundle import load_bundle
from masd.cli.main import main
from masd.drift.log import read_log
from masd.errors import MasdError
from masd.registry.registry import Registry

TINY = [part for override in TINY_OVERRIDES for part in ("--set", override)]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("masd: ")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere/fan", "--out", "b"], "nowhere/fan"),
        (["train", "nowhere/fan", "--out", "b", "--set", "training.epochs=3"], "training.epochs"),
        (["train", "nowhere/fan", "--out", "b", "--config", "none.yaml"], "none.yaml"),
        (["evaluate", "no-bundle", "data/fan", "--out", "e"], "no-bundle"),
        (["score", "no-bundle", "clip.wav"], "no-bundle"),
        (["benchmark", "nowhere", "--out", "b"], "nowhere"),
        (["benchmark", ".", "--machines", "fan", "--out", "b"], "fan"),
        (["pipeline", "run", "--data", "nowhere", "--out", "r"], "nowhere"),
        (["registry", "list", "--registry", "nowhere"], "nowhere"),
        (["registry", "list", "--registry", "s3://bucket/x"], "s3://bucket/x"),
        (["archive", "no-bundle", "--out", "x.mar"], "no-bundle"),
        (["serve", "--bundle", "no-bundle"], "no-bundle"),
        (["drift", "--bundle", "no-bundle", "--log", "log", "--out", "d"], "no-bundle"),
        (["simulate", "s", "--machines", "toaster"], "toaster"),
    ],
)
def test_what_cannot_work_says_so_in_one_line_and_leaves_nothing(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert said in error_line(capsys)
    assert not [path for path in tmp_path.rglob("*") if path.name != "pipeline.log" and path.is_file()]


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["train"], ["score", "bundle"], ["registry", "promote", "fan", "1"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_help_is_quick_to_import() -> None:
    code = "import sys, masd.cli.main; print([m for m in ('torch', 'sklearn', 'kfp', 'evidently') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_simulate_train_evaluate_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, bundle, results = tmp_path / "data", tmp_path / "bundle", tmp_path / "results"
    counts = ["--train", "24", "--test", "8", "--seconds", "2.5"]
    assert main(["simulate", str(data), "--machines", "valve", *counts]) == 0
    assert main(["train", str(data / "valve"), "--out", str(bundle), "--seed", "3", *TINY]) == 0
    assert not (tmp_path / "bundle.work").exists()
    assert load_bundle(bundle).settings.seed == 3

    assert main(["train", str(data / "valve"), "--out", str(bundle), *TINY]) == 1, "a bundle is not overwritten"
    assert main(["train", str(data / "valve"), "--out", str(bundle), "--resume", *TINY]) == 0, "complete already"
    capsys.readouterr()

    assert main(["evaluate", str(bundle), str(data / "valve"), "--out", str(results)]) == 0
    assert "mel-statistics" in capsys.readouterr().out
    metrics = json.loads((results / "metrics.json").read_text())
    assert set(metrics["systems"]) == {"fused", "knn-feature", "knn-score", "lof-feature", "lof-score"}
    for system in ("fused", "knn-feature"):
        assert (results / system / "anomaly_score_valve_section_00_test.csv").is_file()

    clips = sorted((data / "valve" / "test").glob("*.wav"))[:3]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    assert main(["score", str(bundle), *map(str, clips), str(broken), "--json", "--threshold", "0"]) == 1
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["file"] for answer in answers] == [str(clip) for clip in clips]
    assert all(answer["threshold"] == 0 and answer["anomalous"] for answer in answers)
    assert "broken.wav" in err
    fields = (
        "machine_type model_version system score threshold anomalous domain duration_s segments reconstruction_error "
        "warnings"
    )
    assert list(answers[0]) == ["file", *fields.split()]
    assert [answer["warnings"] for answer in answers] == [[], [], []]


def test_fleet_training_makes_a_bundle_per_machine(tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "fleet"
    assert main(["train", str(tiny_data), "--out", str(out), *TINY, "--set", "training.scope=fleet"]) == 0
    fan, bearing = (load_bundle(out / machine) for machine in ("fan", "bearing"))
    windows = np.random.default_rng(0).normal(size=(3, 128, 64)).astype(np.float32)
    latents = [bundle.scorer.extract.run(windows)[2] for bundle in (fan, bearing)]
    np.testing.assert_array_equal(*latents, err_msg="not one network")
    assert any(name.startswith("bearing|") for name in fan.manifest.classes)
    assert fan.scorer.detectors.thresholds != bearing.scorer.detectors.thresholds


def test_registry_commands(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry.open(tmp_path / "registry")
    for hmean in (0.7, 0.8):
        registry.register(tiny_bundle, metrics={"hmean": hmean}, reason="test")
    where = ["--registry", str(tmp_path / "registry")]
    assert main(["registry", "promote", "fan", "1", *where, "--reason", "first"]) == 0
    assert main(["registry", "promote", "fan", "2", *where, "--reason", "better"]) == 0
    assert main(["registry", "rollback", "fan", *where, "--reason", "false alarms"]) == 0
    assert main(["registry", "verify", *where]) == 0
    capsys.readouterr()
    assert main(["registry", "list", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "machine_type": "fan",
        "versions": ["1", "2"],
        "candidate": "2",
        "production": "1",
        "readable": True,
    }
    assert main(["registry", "show", "fan", *where]) == 0
    shown = capsys.readouterr().out
    assert "hmean 0.800" in shown
    assert re.search(r"rollback  2 -> 1 .* false alarms", shown)
    weights = tmp_path / "registry" / "models" / "fan" / "2" / "network.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main(["registry", "verify", *where]) == 1
    assert "network.safetensors" in capsys.readouterr().err
    assert main(["registry", "promote", "fan", "2", *where, "--reason", "tampered"]) == 1
    assert registry.channel("fan", "production") == "1"


def test_pipeline_compile_follows_the_scope(tmp_path: Path) -> None:
    assert main(["pipeline", "compile", "--out", str(tmp_path), "--set", "training.scope=fleet"]) == 0
    assert "masd-fleet-training" in (tmp_path / "training.yaml").read_text()


@pytest.mark.slow
def test_serve_answers_as_score_does_and_ends_on_sigterm(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted((tiny_data / "fan" / "test").glob("*.wav"))
    assert main(["score", str(tiny_bundle), *map(str, clips), "--json"]) == 0
    offline = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    ports = ["--port", "0", "--management-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "masd.cli.main", "serve", "--bundle", str(tiny_bundle), *ports]
    with subprocess.Popen([*command, "--log", str(tmp_path / "log")], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        assert ready["ready"] is True
        assert ready["models"] == {"fan": "0"}
        for clip, expected in zip(clips, offline, strict=True):
            request = urllib.request.Request(
                f"{ready['url']}/predictions/fan", clip.read_bytes(), {"Content-Type": "audio/wav"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
            assert answer["score"] == pytest.approx(expected["score"], abs=1e-5)
            assert answer["anomalous"] == expected["anomalous"]
            for mine, theirs in zip(answer["segments"], expected["segments"], strict=True):
                assert mine == pytest.approx(theirs, abs=1e-5)
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0
        assert time.monotonic() - start < 10
    assert len(read_log(tmp_path / "log", "fan", "0", ["score"]).rows) == len(clips)

    code = main(["drift", "--bundle", str(tiny_bundle), "--log", str(tmp_path / "log"), "--out", str(tmp_path / "d")])
    verdict = json.loads((tmp_path / "d" / "verdict.json").read_text())
    assert verdict["verdict"] == "insufficient data", "16 clips"
    assert code == 0


@pytest.mark.slow
def test_demo_goes_from_recordings_to_an_alarm_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from masd.cli import demo

    monkeypatch.setattr(demo, "TRAIN_CLIPS", 24)
    monkeypatch.setattr(demo, "TEST_CLIPS", 32)
    monkeypatch.setattr(demo, "SECONDS", 2.0)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    out, err = capsys.readouterr()
    assert "server stopped" in err and "6/6 alarms" in err
    assert f"masd board --registry {tmp_path}/demo/run/registry --log {tmp_path}/demo/log" in out
    answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    served = {answer["machine_type"] for answer in answers}
    assert len(answers) == 2 and len(served) == 1 and served <= set(demo.MACHINES)
    for path in ("run/report.html", "run/summary.json", *(f"run/{m}/report.html" for m in demo.MACHINES)):
        assert (tmp_path / "demo" / path).is_file(), path
    assert len(list((tmp_path / "demo" / "run").rglob("metrics.json"))) == len(demo.MACHINES)
    verdict = json.loads((tmp_path / "demo" / "drift" / "verdict.json").read_text())
    assert verdict["clips"] == 34


def test_resuming_with_other_settings_or_data_is_refused(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise MasdError("stopped before the detectors")

    train = ["train", str(tiny_data / "fan"), "--out", str(tmp_path / "fan"), *TINY]
    with monkeypatch.context() as patch:
        patch.setattr("masd.lifecycle.steps.fit_detectors", stop)
        assert main(train) == 1
    capsys.readouterr()
    assert main([*train, "--resume", "--seed", "9"]) == 1
    assert "started with other data or settings" in error_line(capsys)
    assert main([*train, "--resume"]) == 0
