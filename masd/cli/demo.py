"""``masd demo``: the whole chain once on simulated machines, from recordings to a served model, drift and an alarm."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from masd.alarms.step import AlarmStep
from masd.cli.alarms.options import sentence_of
from masd.config import Settings
from masd.data.simulation import simulate
from masd.drift.check import check_drift
from masd.errors import MasdError
from masd.files import json_text
from masd.progress import ConsoleProgress, print_line
from masd.registry.registry import Registry
from pipelines.local.run import run_training
from serving.client import ScoringClient
from serving.server import running_server

MACHINES = ("gearbox", "fan")
TRAIN_CLIPS, TEST_CLIPS, SECONDS, SEED, EPOCHS = 90, 80, 4.0, 0, 25


def demo(out: Path) -> None:
    """Simulate, run the training pipeline, serve, score over HTTP, check drift, raise alarms; all below ``out``.

    A second run keeps the recordings and the registry and adds new model versions to it.

    :raises MasdError: what failed, in one line.
    """
    start = time.monotonic()
    data = _recordings(out)

    print_line(f"2/6 training pipeline (Kubeflow, run on this computer; the baseline has {EPOCHS} epochs, not 100)")
    run = run_training(data, MACHINES, Settings.load(None, [f"gate.baseline_epochs={EPOCHS}"]), out / "run")
    for verdict in run.verdicts:
        print_line(f"    {verdict.sentence}")

    print_line("3/6 serving with TorchServe")
    bundles = _bundles(Registry.open(run.registry), out / "run" / "pipeline.log")
    machine, bundle = next(iter(bundles.items()))
    with running_server(list(bundles.values()), log_folder=out / "log") as server:
        print_line(f"    ready at {server.url}: {server.models}")
        client = ScoringClient(server.url)
        print_line(
            f"4/6 scoring {machine} over HTTP: one clearly normal and one clearly anomalous clip, then the whole test "
            "set"
        )
        print_line("    (normal clips first, then faulty ones, as if the machine broke)")
        clips = sorted((data / machine / "test").glob("*.wav"), key=lambda clip: ("_anomaly_" in clip.name, clip.name))
        for name in _extremes(out / "run" / machine):
            answer = client.score(machine, data / machine / "test" / name)
            print(json_text({"file": name} | {key: value for key, value in answer.items() if key != "segments"}))
        for clip in clips:
            client.score(machine, clip, request_id=clip.stem)
    print_line("    server stopped")

    print_line("5/6 drift: the clips that were served, compared with the training clips")
    drift = check_drift(bundle, out / "log", out / "drift")
    print_line(f"    {drift.sentence}")

    print_line("6/6 alarms: the same clips, one after the other")
    for line in alarm_lines(run.registry, out / "log", machine):
        print_line(f"    {line}")
    print(_closing(out, data, bundle, machine, clips, time.monotonic() - start))


def _recordings(out: Path) -> Path:
    data = out / "data"
    missing = [machine for machine in MACHINES if not (data / machine).exists()]
    print_line(
        f"1/6 simulated recordings of {' and '.join(MACHINES)}" + ("" if missing else ": kept from the last run")
    )
    if missing:
        with ConsoleProgress("simulate") as progress:
            simulate(
                data,
                missing,
                train=TRAIN_CLIPS,
                test=TEST_CLIPS,
                seconds=SECONDS,
                seed=SEED,
                progress=progress,
            )
    return data


def _extremes(results: Path) -> tuple[str, str]:
    """The normal clip with the lowest and the anomalous clip with the highest score of the evaluation."""
    scores = pd.read_parquet(results / "scores.parquet")
    system = json.loads((results / "verdict.json").read_text(encoding="utf-8"))["system"]
    normal, anomaly = (scores[scores["condition"] == kind] for kind in ("normal", "anomaly"))
    return normal["name"][normal[system].idxmin()], anomaly["name"][anomaly[system].idxmax()]


def _bundles(registry: Registry, pipeline_log: Path) -> dict[str, Path]:
    """The versions in production; if the gate refused all, the candidates, and a message that says so."""
    if production := registry.in_production():
        return {machine: registry.fetch(machine, version) for machine, version in production.items()}
    print_line(
        "    the gate refused every candidate, so no version is in production: the demo serves the refused candidates"
    )
    candidates = {
        machine: registry.fetch(machine, version)
        for machine in registry.machines()
        if (version := registry.channel(machine, "candidate")) is not None
    }
    if not candidates:
        raise MasdError(f"{registry.url}: contains no model; see {pipeline_log}")
    return candidates


def alarm_lines(registry: str, log: Path, machine: str) -> list[str]:
    """What one alarm check finds in the log."""
    outcome = AlarmStep(registry, str(log)).run([machine])
    if machine in outcome.failed:
        return [f"alarms were not checked: {outcome.failed[machine]}"]
    events = [sentence_of(one) for one in outcome.events if one.kind == "alarm" or one.reason == "alarm-over"]
    return events or [f"no alarm: {machine} has no version in production, or its faults are too weak"]


def _closing(out: Path, data: Path, bundle: Path, machine: str, clips: Sequence[Path], seconds: float) -> str:
    registry = out / "run" / "registry"
    in_production = machine in Registry.open(registry).in_production()
    return f"""
Done in {seconds:.0f} s. All files are in {out}:
  {out / "run" / "report.html"}   all machines: verdicts, our systems beside the controls
  {out / "run" / machine / "report.html"}   one machine: scores, ROC, clips to listen to
  {out / "drift" / "drift.html"}   drift report
  {registry}   model versions, pointers, audit trail
  {out / "log-alarms"}   states and events of alarms
  {data}   the recordings

Try next (with .venv/bin on the PATH):
  masd score {bundle} {clips[0]}
  masd serve {f"--registry {registry}" if in_production else f"--bundle {bundle}"}
  curl -H 'Content-Type: audio/wav' --data-binary @{clips[0]} http://127.0.0.1:8080/predictions/{machine}
  masd board --registry {registry} --log {out / "log"}     # the board, a web page for the staff, at http://127.0.0.1:8090
  masd registry show {machine} --registry {registry}
  masd pipeline run --data {data} --out {out / "run"}     # the next version"""
