"""Which steps work again in a second run, by kfp.local's cache and with stubs for the work.

A stand-in: Kubeflow's driver makes its keys of image, code, parameters and artefacts too, but could not be run here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.step import StepLine
from masd.progress import MARK

pytestmark = pytest.mark.slow

STUBS = Path(__file__).parent / "stubs"
RUN = f"""
import json, sys
from kfp import local
from masd.config import Settings
from pipelines.placement import on_cluster
from pipelines.training import training_pipeline

root, machines, overrides = json.loads(sys.argv[1])
settings = Settings.load(None, overrides)
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=f"{{root}}/runs", enable_caching=True,
           cache_root=f"{{root}}/cache")
pipeline = training_pipeline(settings, on_cluster(image="masd@sha256:{0:064}"))
pipeline(machines=machines, data=f"{{root}}/data", registry=f"{{root}}/registry", config=settings.to_yaml())
"""
PURE = {"featurize", "train", "fit_detectors"}
"""``evaluate`` is cached too, but kfp.local forgets a task with metrics: they are no file."""


def _worked(root: Path, machines: list[str], *overrides: str) -> set[tuple[str, str]]:
    """Run the training pipeline; answers which steps have worked on what."""
    order = json.dumps([str(root), machines, overrides])
    paths = os.pathsep.join(filter(None, [str(STUBS), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", RUN, order]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    texts = [text.partition(MARK)[2] for text in done.stdout.splitlines()]
    lines = [line for line in map(StepLine.read, texts) if line is not None]
    return {(line.step, line.machine) for line in lines if line.state == "done"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for machine in ("fan", "valve"):
        for split in ("train", "test"):
            (tmp_path / "data" / machine / split).mkdir(parents=True)
            (tmp_path / "data" / machine / split / "clip.wav").write_text(split)
    return tmp_path


def test_what_a_machine_is_made_of_decides_and_what_it_is_not_does_not(root: Path) -> None:
    pure = {(step, "fan") for step in PURE}
    assert _worked(root, ["fan"]) >= pure | {("gate", "fan"), ("package", "fan")}
    again = _worked(root, ["fan"])
    assert not pure & again
    assert again >= {("fingerprint", "fan"), ("gate", "fan"), ("package", "fan"), ("report", "")}

    with_another = _worked(root, ["fan", "valve"])
    assert not pure & with_another
    assert with_another >= {(step, "valve") for step in PURE}

    assert _worked(root, ["fan"], "seed=7") >= pure
    (root / "data" / "fan" / "test" / "clip.wav").write_text("replaced")
    assert _worked(root, ["fan"]) >= pure


def test_one_network_for_all_is_made_of_all_recordings(root: Path) -> None:
    fleet = ("training.scope=fleet",)
    made = {("featurize", "the fleet"), ("train", "the fleet"), ("fit_detectors", "fan"), ("fit_detectors", "valve")}
    assert _worked(root, ["fan", "valve"], *fleet) >= made
    assert not made & _worked(root, ["fan", "valve"], *fleet)
    (root / "data" / "valve" / "train" / "clip.wav").write_text("replaced")
    assert _worked(root, ["fan", "valve"], *fleet) >= made
