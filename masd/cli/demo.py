"""``masd demo``: the whole chain once on simulated machines, from recordings to a served model and a drift check."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from masd.config import Settings
from masd.data.simulation import simulate
from masd.drift.check import check_drift
from masd.errors import MasdError
from masd.files import json_text
from masd.progress import ConsoleProgress
from masd.registry.registry import Registry
from pipelines.local.run import run_training
from serving.client import ScoringClient
from serving.server import running_server

MACHINES = ("gearbox", "fan")
TRAIN_CLIPS, TEST_CLIPS, SECONDS, SEED = 90, 80, 4.0, 0


def demo(out: Path) -> None:
    """Simulate, run the training pipeline, serve, score over HTTP, check drift; everything below ``out``.

    A second run keeps the recordings and the registry and adds new model versions to it.

    :raises MasdError: what failed, in one line.
    """
    start = time.monotonic()
    data = _recordings(out)

    _say("2/5 training pipeline (Kubeflow, run on this machine)")
    run = run_training(data, MACHINES, Settings(), out / "run")
    for verdict in run.verdicts:
        _say(f"    {verdict.sentence}")

    _say("3/5 serving with TorchServe")
    bundles = _bundles(Registry.open(run.registry))
    with running_server(bundles, log_folder=out / "log") as server:
        _say(f"    ready at {server.url}: {server.models}")
        client = ScoringClient(server.url)
        machine = next(iter(server.models))
        _say(f"4/5 scoring {machine} over HTTP: its most normal and its most anomalous clip, then all of its test set")
        clips = sorted((data / machine / "test").glob("*.wav"))
        for name in _extremes(out / "run" / machine):
            answer = client.score(machine, data / machine / "test" / name)
            print(json_text({"file": name} | {key: value for key, value in answer.items() if key != "segments"}))
        for clip in clips:
            client.score(machine, clip)
    _say("    server stopped")

    _say("5/5 drift: the clips that were served, compared with the training clips")
    bundle = bundles[0]
    drift = check_drift(bundle, out / "log", out / "drift")
    _say(f"    {drift.sentence}")
    print(_closing(out, data, bundle, machine, clips, time.monotonic() - start))


def _recordings(out: Path) -> Path:
    data = out / "data"
    missing = [machine for machine in MACHINES if not (data / machine).exists()]
    _say(f"1/5 simulated recordings of {' and '.join(MACHINES)}" + ("" if missing else ": kept from the last run"))
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


def _bundles(registry: Registry) -> list[Path]:
    """The versions in production; if the gate refused all, the candidates, and a message that says so."""
    if production := registry.in_production():
        return [registry.fetch(machine, version) for machine, version in production.items()]
    _say("    the gate refused every candidate, so nothing is in production: the demo serves the refused candidates")
    candidates = [
        registry.fetch(machine, version)
        for machine in registry.machines()
        if (version := registry.channel(machine, "candidate")) is not None
    ]
    if not candidates:
        raise MasdError(f"{registry.url}: holds no model; see the pipeline's log")
    return candidates


def _closing(out: Path, data: Path, bundle: Path, machine: str, clips: Sequence[Path], seconds: float) -> str:
    registry = out / "run" / "registry"
    in_production = machine in Registry.open(registry).in_production()
    return f"""
Done in {seconds:.0f} s. Everything lies below {out}:
  {out / "run" / "report.html"}   all machines: verdicts, our systems beside the controls
  {out / "run" / machine / "report.html"}   one machine: scores, ROC, clips to listen to
  {out / "drift" / "drift.html"}   drift report
  {registry}   model versions, pointers, audit trail
  {data}   the recordings

Try next (with .venv/bin on the PATH):
  masd score {bundle} {clips[0]}
  masd serve {f"--registry {registry}" if in_production else f"--bundle {bundle}"}
  curl -H 'Content-Type: audio/wav' --data-binary @{clips[0]} http://127.0.0.1:8080/predictions/{machine}
  masd registry show {machine} --registry {registry}
  masd pipeline run --data {data} --out {out / "run"}     # the next version"""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
