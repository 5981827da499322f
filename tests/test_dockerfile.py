"""What can be said of the images without building them; ``make test-containers`` builds and runs them."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

from masd.bundle.manifest import REVISION

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_installation_follows_the_constraints() -> None:
    installed = re.findall(r"pip --python \S+ install (.*)", TEXT)
    assert len(installed) == 5
    assert all(options.startswith(("-c constraints.txt", "--no-deps")) for options in installed)


def test_both_images_run_as_a_number_that_is_not_root() -> None:
    run = TEXT[TEXT.index(" AS run") :]
    assert re.findall(r"^USER (.*)", TEXT, re.MULTILINE) == ["65532:65532"]
    assert re.findall(r"^FROM run AS (\w+)", run, re.MULTILINE) == ["pipeline", "serve"]


def test_both_images_know_the_revision_that_they_were_built_from() -> None:
    """As an environment variable, which bundles take it from, and as a label, which people look at."""
    for image in TEXT[TEXT.index(" AS run") :].split("FROM run AS ")[1:]:
        assert "ARG REVISION" in image
        assert f"ENV {REVISION}=${{REVISION}}" in image
        assert 'LABEL org.opencontainers.image.revision="${REVISION}"' in image
    build = (ROOT / "tests" / "containers" / "images.sh").read_text(encoding="utf-8")
    assert "revision=$(git rev-parse HEAD" in build and '--build-arg "REVISION=$revision"' in build


def test_only_what_is_named_goes_to_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in kept)
    assert not [name for name in (".git", "tests", "docs", "k8s") if any(fnmatch.fnmatch(name, k) for k in kept)]
