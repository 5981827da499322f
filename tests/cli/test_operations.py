"""Every command of docs/operating/operations.md, in order, on its own plant: each must print what the page says."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from page_commands import matches, steps
from tiny import TINY

from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.simulation import simulate
from masd.registry.registry import Registry
from serving.worker.inference_log import InferenceLog

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "operating" / "operations.md"
MACHINE = "gearbox"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings and settings that train in seconds."""
    folder = tmp_path_factory.mktemp("plant")
    simulate(folder / "recordings", [MACHINE], train=60, test=40, seconds=3.0, seed=3)
    simulate(folder / "heard", [MACHINE], train=8, test=160, seconds=3.0, seed=4)
    own = {
        "data": {"group_by": "none"},
        "gate": {"bootstrap_samples": 200, "control_margin": 0.2},
    }  # each clip is its own
    settings = Settings.model_validate({**TINY, **own})
    (folder / "masd.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    _faulty_clip(folder)
    return folder


def _faulty_clip(plant: Path) -> None:
    """A faulty clip with a whistle besides, so that its decision is the same on every processor."""
    clip = sorted((plant / "heard" / MACHINE / "test").glob("*source*anomaly*"))[0]
    samples, rate = soundfile.read(clip)
    whistle = np.std(samples) * np.sin(2 * np.pi * 3100 * np.arange(len(samples)) / rate)
    soundfile.write(plant / "clip.wav", np.clip(samples + whistle, -1, 1), rate, subtype="PCM_16")


def _hear(plant: Path) -> None:
    """What a server would have logged of a day in both usual conditions."""
    registry = Registry.open(plant / "registry")
    version = registry.channel(MACHINE, "production")
    assert version is not None
    scorer = load_bundle(registry.fetch(MACHINE, version)).scorer
    sources, targets = (
        sorted((plant / "heard" / MACHINE / "test").glob(f"*{domain}*normal*")) for domain in ("source", "target")
    )
    clips = [*sources, *targets[: len(sources) // 9]]
    scores = scorer.score([scorer.decode(path) for path in clips])
    InferenceLog(plant / "log", MACHINE).write([(f"clip-{n}", score) for n, score in enumerate(scores)])


def test_the_page_holds(plant: Path) -> None:
    found = steps(PAGE)
    assert len({tuple(step.command.split()[:3]) for step in found}) >= 10
    environment = {**os.environ, "MASD_ACTOR": "maria", "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    for step in found:
        if "--log log" in step.command and not (plant / "log").exists():
            _hear(plant)
        program, *arguments = shlex.split(step.command)
        assert program == "masd"
        ran = subprocess.run(
            [sys.executable, "-m", "masd.cli.main", *arguments],
            cwd=plant,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        said = json.dumps({"command": step.command, "printed": ran.stdout, "errors": ran.stderr[-2000:]}, indent=1)
        assert ran.returncode == step.code, said
        assert matches(step, ran.stdout), said
