"""The example of docs/recordings/import.md, run as it stands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from masd.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "recordings" / "import.md"


def test_the_example_of_each_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8").partition("\n## An example of each format\n")[2]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines():
        name, *arguments = shlex.split(line)
        assert name == "masd"
        assert main(arguments) == 0
    clips = [f"monday_part00{number}.wav" for number in range(3)]
    for folder in ("lab", "analyser", "table", "rig/channel_0", "rig/channel_1"):
        assert sorted(path.name for path in (tmp_path / "data" / folder / "train").iterdir()) == clips
        (rate,) = {clip["rate_hz"] for clip in _notes(tmp_path / "data" / folder)}
        assert rate == 25_600
    assert {clip["unit"] for clip in _notes(tmp_path / "data" / "lab")} == {"Pa"}
    assert {clip["attributes"]["rpm"] for clip in _notes(tmp_path / "data" / "cwru" / "FE")} == {1_796}
    assert len(list((tmp_path / "data" / "cwru" / "DE" / "train").iterdir())) == 6


def _notes(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "recordings.json").read_text(encoding="utf-8"))["clips"]
    return found
