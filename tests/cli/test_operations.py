"""Every command of docs/operations.md, in order, on a plant of its own: each must print what the page says."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import TINY

from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.simulation import simulate
from masd.registry.registry import Registry
from serving.worker.inference_log import InferenceLog

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
MACHINE = "gearbox"


@dataclass(frozen=True)
class Step:
    """One command of the page, what it prints (``...`` stands for anything) and its exit code."""

    command: str
    prints: str
    code: int


def steps() -> list[Step]:
    """``console`` blocks: ``$ command``, then its output; ``[exit 3]`` as the last line where it is not 0."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, prints = part.partition("\n")
            exit_code = re.search(r"^\[exit (\d)\]\n?\Z", prints, re.MULTILINE)
            if exit_code:
                prints = prints[: exit_code.start()]
            found.append(Step(command, prints.strip(), int(exit_code[1]) if exit_code else 0))
    return found


def matches(step: Step, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in step.prints.split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings and settings that train in seconds."""
    folder = tmp_path_factory.mktemp("plant")
    simulate(folder / "recordings", [MACHINE], train=60, test=40, seconds=3.0, seed=3)
    simulate(folder / "heard", [MACHINE], train=8, test=160, seconds=3.0, seed=4)
    settings = Settings.model_validate({**TINY, "gate": {"bootstrap_samples": 200, "control_margin": 0.2}})
    (folder / "masd.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    clip = sorted((folder / "heard" / MACHINE / "test").glob("*source*anomaly*"))[0]
    (folder / "clip.wav").write_bytes(clip.read_bytes())
    return folder


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
    found = steps()
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
