"""Kubeflow's cache: which tasks may use it, and that all their outputs follow from is in their parameters."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.fingerprint import fingerprint
from masd.config import Settings
from masd.errors import MasdError
from pipelines.compile import compile_pipelines
from pipelines.training import default_config

DIGEST = f"registry.example/masd@sha256:{'ab' * 32}"
CACHED = {"featurize", "train", "fit-detectors", "controls", "evaluate"}


def _compile(out: Path, scope: str, image: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    said: list[str] = []
    paths = compile_pipelines(out, Settings.load(None, [f"training.scope={scope}"]), image=image, say=said.append)
    return {path.stem: next(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in paths}, said


@pytest.fixture(scope="module", params=["machine", "fleet"])
def scope(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def compiled(scope: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return _compile(tmp_path_factory.mktemp("compiled"), scope, DIGEST)[0]


def _tasks(spec: dict[str, Any], *, nested: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """All tasks that are a container, whatever they are nested in; ``nested``: all that others are nested in."""
    for part in (spec["root"], *spec["components"].values()):
        for name, task in part.get("dag", {}).get("tasks", {}).items():
            if ("dag" in spec["components"][task["componentRef"]["name"]]) is nested:
                yield name, task


def _has_cache(task: dict[str, Any]) -> bool:
    return bool(task.get("cachingOptions", {}).get("enableCache", False))


@pytest.mark.parametrize("pipeline", ["training", "monitoring"])
def test_by_digest_the_pure_steps_are_cached(compiled: dict[str, dict[str, Any]], pipeline: str) -> None:
    caching = {name: _has_cache(task) for name, task in _tasks(compiled[pipeline])}
    never = {"fingerprint", "gate", "package", "package-2", "package-3", "report"}
    never |= {"alarms", "drift"} if pipeline == "monitoring" else set()
    assert caching == dict.fromkeys(CACHED, True) | dict.fromkeys(never, False)


@pytest.mark.parametrize("image", ["masd/pipeline:0.1.0", "registry.example:5000/masd/pipeline"])
def test_by_a_tag_nothing_is_cached_and_one_line_says_so(image: str, tmp_path: Path) -> None:
    pipelines, said = _compile(tmp_path, "machine", image)
    assert not any(_has_cache(task) for spec in pipelines.values() for _, task in _tasks(spec))
    (line,) = said
    assert image in line and "not named by digest" in line and "@sha256:" in line


def test_with_a_digest_nothing_is_said(tmp_path: Path) -> None:
    assert _compile(tmp_path, "fleet", DIGEST)[1] == []


@pytest.mark.parametrize(
    ("image", "disabled", "cached"),
    [(DIGEST, "", True), (DIGEST, "1", False), ("masd/pipeline:0.1.0", "", False)],
)
def test_the_command_takes_the_image_and_kfps_switch_from_the_environment(
    image: str, disabled: str, cached: bool, tmp_path: Path
) -> None:
    """In a process of its own, because both are read when modules are imported."""
    command = [sys.executable, "-m", "masd.cli.main", "pipeline", "compile", "--out", str(tmp_path)]
    environment = {"MASD_IMAGE": image, "KFP_DISABLE_EXECUTION_CACHING_BY_DEFAULT": disabled}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "Kubeflow's cache" in line]
    assert len(warnings) == (0 if image == DIGEST else 1)
    assert warnings == [line for line in warnings if line.startswith(f"warning: image {image} ")]
    assert ("enableCache: true" in (tmp_path / "training.yaml").read_text(encoding="utf-8")) is cached


@pytest.mark.parametrize("pipeline", ["training", "monitoring"])
def test_every_cached_task_has_the_recordings_fingerprint_and_the_settings(
    compiled: dict[str, dict[str, Any]], pipeline: str
) -> None:
    """As parameters: the key may hold no more of an input artefact than its name."""
    spec = compiled[pipeline]
    made = {"taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "fingerprint"}}
    (loop,) = (task for name, task in _tasks(spec, nested=True) if name.startswith("for-loop"))
    for name, task in _tasks(spec):
        if not _has_cache(task):
            continue
        values = task["inputs"]["parameters"]
        source = values["fingerprint"]
        if "componentInputParameter" in source:  # inside the loop, made before it
            source = loop["inputs"]["parameters"][source["componentInputParameter"]]
        assert source == made, name
        assert values["config"]["componentInputParameter"] in ("config", "pipelinechannel--config"), name


def test_the_fingerprint_is_of_the_recordings_that_the_network_is_made_of(
    compiled: dict[str, dict[str, Any]], scope: str
) -> None:
    tasks = dict(_tasks(compiled["training"]))
    about = tasks["fingerprint"]["inputs"]["parameters"]
    if scope == "machine":  # and no list of the run's machines, which would make each of them new with another run
        for name in ("fingerprint", "featurize", "train"):
            values = tasks[name]["inputs"]["parameters"]
            assert values["machines"] == {"runtimeValue": {"constant": []}}
            assert values["only"] == {"componentInputParameter": "pipelinechannel--machines-loop-item"}
    else:
        assert "only" not in about
        for name in ("fingerprint", "featurize", "train"):
            assert tasks[name]["inputs"]["parameters"]["machines"] == {"componentInputParameter": "machines"}


@pytest.mark.parametrize("name", ["featurize", "train", "fit_detectors", "evaluate"])
def test_a_forgotten_fingerprint_is_no_default(name: str) -> None:
    component = getattr(importlib.import_module(f"components.{name}"), name)
    assert {"fingerprint", "config"} <= {
        key for key, spec in component.component_spec.inputs.items() if not spec.optional
    }


def test_a_comment_behind_the_settings_makes_another_key_of_the_same_settings() -> None:
    """As docs/measured/scaling.md advises for a run's page: the text is in every key, compared as it stands."""
    settings = Settings.load(None, ["training.scope=fleet", "seed=7"])
    assert Settings.from_yaml(f"{default_config(settings)} # again", "config") == settings


def _fingerprint(data: Path, machines: list[str], only: str = "") -> str:
    return str(fingerprint.python_func(str(data), machines, only))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for machine in ("fan", "valve"):
        for split in ("train", "test"):
            folder = tmp_path / "data" / machine / split
            folder.mkdir(parents=True)
            (folder / "a.wav").write_text(f"{machine} {split}")
    return tmp_path / "data"


@pytest.mark.parametrize("split", ["train", "test"])
def test_changed_recordings_have_another_fingerprint(data: Path, split: str) -> None:
    fan, valve, fleet = (
        _fingerprint(data, [], "fan"),
        _fingerprint(data, [], "valve"),
        _fingerprint(data, ["fan", "valve"]),
    )
    assert len({fan, valve, fleet}) == 3
    (data / "fan" / split / "a.wav").write_text("fan, again")
    assert _fingerprint(data, [], "fan") != fan
    assert _fingerprint(data, [], "valve") == valve
    assert _fingerprint(data, ["fan", "valve"]) != fleet


def test_a_copy_elsewhere_has_the_same_fingerprint(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "elsewhere")
    assert _fingerprint(copy, [], "fan") == _fingerprint(data, [], "fan")
    (copy / "fan" / "train" / "b.wav").write_text("one more")
    assert _fingerprint(copy, [], "fan") != _fingerprint(data, [], "fan")


def test_a_folder_that_is_a_link_is_looked_into_as_it_is_read(data: Path, tmp_path: Path) -> None:
    versions = shutil.move(data / "fan" / "train", tmp_path / "2026-11")
    (data / "fan" / "train").symlink_to(versions)
    before = _fingerprint(data, [], "fan")
    (Path(versions) / "a.wav").write_text("changed behind the link")
    assert _fingerprint(data, [], "fan") != before


@pytest.mark.parametrize(
    ("machine", "says"), [("pump", "data/pump: does not exist or is empty"), ("../data", "machine type")]
)
def test_a_machine_that_is_not_there_is_named(data: Path, machine: str, says: str) -> None:
    with pytest.raises(MasdError, match=says):
        _fingerprint(data, [], machine)
