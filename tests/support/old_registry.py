"""Registries that masd 0.1.0 has made, and what its own code says of a clip: see ``registries/README.md``."""

import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

REGISTRIES = Path(__file__).with_name("registries")

_SCORE = """
import json
import sys
from pathlib import Path
here = Path(sys.argv[1])
sys.path.insert(0, str(here))
import masd
assert Path(masd.__file__).is_relative_to(here), masd.__file__
from masd.lifecycle.bundle import load_bundle
scorer = load_bundle(here / "bundle").scorer
found = scorer.score([scorer.decode(Path(clip).read_bytes()) for clip in sys.argv[2:]])
print(json.dumps([score.score for score in found]))
"""


def unpacked(schema: int, out: Path) -> Path:
    """The registry of 0.1.0 with bundle schema 2 (with archives) or 4, in a new folder below ``out``."""
    with tarfile.open(REGISTRIES / f"schema-{schema}.tar.xz") as packed:
        packed.extractall(out, filter="data")
    return out / "registry"


def scores_of_its_own_code(archive: Path, clips: Sequence[bytes], work: Path) -> list[float]:
    """Scores by the code and the bundle that an archive of schema 2 carries, without a server, in an empty folder."""
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(work / "archive")
    files = [work / f"{number}.wav" for number in range(len(clips))]
    for file, clip in zip(files, clips, strict=True):
        file.write_bytes(clip)
    arguments = [sys.executable, "-c", _SCORE, str(work / "archive"), *map(str, files)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=work)
    assert done.returncode == 0, done.stderr
    scores: list[float] = json.loads(done.stdout)
    return scores
