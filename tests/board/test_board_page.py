"""Every command of docs/board.md, in order: each must print what the page says, and the boards are real ones."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from board_plant import Plant
from page_commands import matches, steps

from masd.cli.main import main

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "board.md"


def test_the_page_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if missing := [program for program in ("curl", "openssl", "grep", "cut") if shutil.which(program) is None]:
        pytest.skip(f"PAGE NOT TESTED: there is no {', '.join(missing)}")
    plant = Plant(tmp_path / "plant")
    plant.machine("fan")
    plant.hear("fan", fault_hours=0.5)
    plant.candidate("fan", "ask")
    monkeypatch.chdir(plant.root)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    serving: subprocess.Popen[str] | None = None
    found = steps(PAGE)
    assert len(found) >= 12
    try:
        for step in found:
            if step.command.endswith(" &"):
                serving = subprocess.Popen(
                    ["bash", "-c", step.command.removesuffix(" &")],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                assert serving.stdout is not None
                said = serving.stdout.readline()
                environment["BOARD"] = json.loads(said)["url"]
                code = 0
            elif step.command == "kill %1":
                assert serving is not None
                os.killpg(serving.pid, signal.SIGTERM)
                code, said = abs(serving.wait(10)) % signal.SIGTERM, ""
            elif step.command.startswith("masd "):
                code = main(shlex.split(step.command)[1:])
                said = capsys.readouterr().out
            else:
                done = subprocess.run(["bash", "-c", step.command], env=environment, capture_output=True, text=True)
                code, said = done.returncode, done.stdout
            assert code == step.code, (step.command, said)
            assert matches(step, said), (step.command, said)
    finally:
        if serving is not None and serving.poll() is None:
            os.killpg(serving.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        (["--host", "0.0.0.0"], {}, "--host 0.0.0.0: put the token into MASD_BOARD_TOKEN"),
        (["--allow-changes"], {}, "--allow-changes: put the token into MASD_BOARD_TOKEN"),
        (["--allow-changes"], {"MASD_BOARD_TOKEN": "short"}, "at least 16 printable"),
        (["--allow-changes"], {"MASD_BOARD_TOKEN_FILE": "/nowhere"}, "cannot be read"),
        (["--log", "nowhere"], {}, "there is no inference log at nowhere"),
        (["--registry", "ftp://x"], {}, "give a path, file:///folder or s3://"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    options: list[str],
    environment: dict[str, str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").mkdir()
    for name in ("MASD_BOARD_TOKEN", "MASD_BOARD_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["board", "--registry", "registry", "--log", "log", "--port", "0", *options]) == 1
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
