"""The examples of docs/serving.md, as they stand there, against a live server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from raw_http import machine_of

from serving.server import RunningServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "serving.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)

EXPECTED = {
    "--data-binary @clip.wav http://127.0.0.1:8080/predictions/fan": '"reconstruction_error"',
    "-F request_id": '"request_id": "line-4/0815"',
    '"instances"': '"predictions"',
    '"inputs"': '"outputs"',
    "import ScoringClient": "400 undecodable",
    "GrpcScoringClient": "'start_s'",
    "shift.flac": '"blocks"',
    "/explanations/": "0.",
}
"""What names an example, and what its output has to show."""


def _examples() -> list[tuple[str, str]]:
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(wav: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples send."""
    out = tmp_path_factory.mktemp("examples")
    (out / "clip.wav").write_bytes(wav())
    samples = np.random.default_rng(0).normal(0.0, 0.1, 60 * 16_000)
    soundfile.write(out / "clip.flac", samples[:48_000], 16_000)
    soundfile.write(out / "shift.flac", samples, 16_000)
    return out


@pytest.mark.parametrize(("language", "text"), _examples(), ids=lambda value: value.split("\n")[0][:50])
def test_an_example_does_what_the_page_says(language: str, text: str, server: RunningServer, folder: Path) -> None:
    for written, real in (
        ("http://127.0.0.1:8080", server.url),
        ("127.0.0.1:7070", server.grpc_address),
        ("/fan", f"/{machine_of(server)}"),
        ('"fan"', f'"{machine_of(server)}"'),
        ("python3", sys.executable),
    ):
        text = text.replace(written, real)
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = [shown for name, shown in EXPECTED.items() if name.replace("http://127.0.0.1:8080", server.url) in text]
    assert len(expected) == 1, text
    assert expected[0] in done.stdout


def test_every_way_to_ask_has_an_example() -> None:
    texts = [text for _, text in _examples()]
    assert all(any(name in text for text in texts) for name in EXPECTED)


def test_the_picture_of_the_example_is_one(server: RunningServer, folder: Path) -> None:
    (text,) = (text for _, text in _examples() if "/explanations/" in text)
    text = text.replace("http://127.0.0.1:8080", server.url).replace("python3", sys.executable)
    subprocess.run(["bash", "-c", text], cwd=folder, check=True, capture_output=True)
    assert (folder / "clip.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_answer_that_the_page_shows_has_the_fields_of_an_answer(server: RunningServer, wav: Any) -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    from raw_http import post

    answer = post(server, wav()).json
    assert list(json.loads(shown)) == list(answer)
    assert list(json.loads(shown)["segments"][0]) == list(answer["segments"][0])
