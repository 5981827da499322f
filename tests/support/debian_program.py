"""Programs of Debian packages that PyPI does not have: from the PATH, or fetched and unpacked without installing."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "masd-tests"


def debian_program(name: str, package: str) -> list[str]:
    """The beginning of a command line that starts the program.

    The test is skipped, loudly, where the program is not on the PATH and the package cannot be fetched.
    """
    if (found := shutil.which(name)) is not None:
        return [found]
    root = _unpacked(package)
    if isinstance(root, str):
        pytest.skip(f"NOT TESTED WITH {name}: it is not on the PATH, and Debian's {package} cannot be fetched ({root})")
    # the package's data has to be where it would be installed: in a mount namespace of this process
    mount = f'mount --bind "{root}/usr/share" /usr/share && exec "$0" "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(root / "usr/bin" / name)]


def _unpacked(package: str) -> Path | str:
    """The folder with the package's files, or why there is none."""
    root = CACHE / package
    if root.is_dir():
        return root
    if missing := [tool for tool in ("apt-get", "dpkg", "unshare") if shutil.which(tool) is None]:
        return f"no {missing[0]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        try:
            subprocess.run(
                ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, timeout=120, check=True
            )
            (file,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", file, f"{folder}/root"], capture_output=True, check=True)
            subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=True)
        except subprocess.CalledProcessError as error:
            return f"{error.cmd[0]}: {str(error.stderr).strip()[-200:]}"
        except subprocess.TimeoutExpired:
            return "apt-get took longer than 120 s"
        try:
            (Path(folder) / "root").rename(root)
        except OSError:  # another test process was faster
            if not root.is_dir():
                raise
    return root
