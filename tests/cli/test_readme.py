"""The commands of README.md: every one is understood as it stands there, and those that need no server or hours run."""

import ast
import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from masd.bundle.bundle import load_bundle
from masd.cli.main import main, parser
from masd.registry.registry import Registry
from serving.worker.inference_log import InferenceLog

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES if line.startswith("masd ")]
ENDS = {
    "train": "hours of training",
    "benchmark": "hours of training",
    "pipeline run": "hours of training",
    "pipeline schedule": "runs for ever",
    "serve": "runs for ever",
    "alarms": "runs for ever",
    "board": "runs for ever",
    "dataset fetch": "downloads gigabytes",
}
"""Commands that are only parsed, and why."""


def _name(command: list[str]) -> str:
    return " ".join(command[:2]) if command[0] in ("pipeline", "registry", "data", "dataset") else command[0]


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 14
    assert {line.split()[0] for line in LINES} == {"masd", "make", "curl"}
    assert set(ENDS) < {_name(command) for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_is_understood(command: list[str]) -> None:
    parser().parse_args(command)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_a_target_is_in_the_makefile(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_python_example_imports_what_is_there() -> None:
    (block,) = (block for language, block in BLOCKS if language == "python")
    imports = [node for node in ast.parse(block).body if isinstance(node, ast.ImportFrom)]
    assert "ScoringClient" in {alias.name for node in imports for alias in node.names}
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.fixture(scope="module")
def plant(tiny_bundle: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands before have left: recordings, a model, a registry with two versions, a day of the server's log."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(tiny_data / "fan", folder / "data" / "fan")
    shutil.copytree(tiny_bundle, folder / "models" / "fan")
    registry = Registry.open(folder / "run" / "registry")
    for _ in range(2):
        registry.register(tiny_bundle, metrics={})
    registry.promote("fan", "1", reason="first")
    scorer = load_bundle(tiny_bundle).scorer
    clips = sorted((tiny_data / "fan" / "train").glob("*.wav"))
    scores = scorer.score([scorer.decode(path) for path in clips])
    InferenceLog(folder / "log", "fan").write([(f"clip-{n}", score) for n, score in enumerate(scores * 2)])
    return folder


@pytest.mark.slow
def test_the_commands_run_in_their_order(
    plant: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(plant)
    ran = [command for command in COMMANDS if _name(command) not in ENDS]
    for command in ran:
        code = main(command)
        out, err = capsys.readouterr()
        expected = 0
        if command[0] == "drift" and json.loads((plant / "drift/fan/verdict.json").read_text())["verdict"] == "drift":
            expected = 3  # as the page says
        assert code == expected, (command, out, err[-1000:])
    for name in ("results/fan/report.html", "compiled", "drift", "check.html"):
        assert (plant / name).exists(), name
    events = [record["event"] for record in Registry.open(plant / "run" / "registry").audit("fan")]
    assert events[-2:] == ["promote", "rollback"]
