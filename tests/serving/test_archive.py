"""The archive: reproducible, complete, and recognised as a bundle's own."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from masd.bundle.manifest import load_manifest
from masd.errors import MasdError
from serving.archive import archive, deploy, is_archive_of
from serving.shared import MARK


@pytest.fixture(scope="module")
def mar(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tiny_bundle, tmp_path_factory.mktemp("archive") / "fan.mar")


def test_same_bundle_same_bytes(tiny_bundle: Path, mar: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    for file in copy.iterdir():
        file.chmod(0o600)
        os.utime(file, (0, 0))
    assert archive(copy, tmp_path / "again.mar").read_bytes() == mar.read_bytes()
    assert [path.name for path in tmp_path.glob("*.mar*")] == ["again.mar"]


def test_manifest_and_settings_are_what_torchserve_reads(tiny_bundle: Path, mar: Path) -> None:
    manifest = load_manifest(tiny_bundle)
    with zipfile.ZipFile(mar) as content:
        model = json.loads(content.read("MAR-INF/MANIFEST.json"))["model"]
        config = yaml.safe_load(content.read(model["configFile"]))
        names = content.namelist()
    assert (model["modelName"], model["modelVersion"]) == (manifest.machine_type, manifest.version)
    assert model["handler"] in names
    assert config["batchSize"] == 8
    assert not {"minWorkers", "maxWorkers"} & set(config)  # how many is for the server to say
    assert names == sorted(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith(("/", "tests"))]
    assert {name.split("/")[1] for name in names if name.startswith("bundle/")} == {
        "manifest.json",
        *manifest.files,
    }


def test_loads_and_scores_with_nothing_but_its_own_code(mar: Path, wav: object, tmp_path: Path) -> None:
    """As TorchServe does it, in a process whose own masd would fail: the archive's copy must win."""
    with zipfile.ZipFile(mar) as content:
        content.extractall(tmp_path / "model")
    for package in ("masd", "serving"):
        (tmp_path / "installed" / package).mkdir(parents=True)
        (tmp_path / "installed" / package / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    (tmp_path / "clip.wav").write_bytes(wav())
    code = """
import sys, pathlib, types
sys.path.insert(0, sys.argv[1]); model = sys.argv[2]; sys.path.append(model)
import handler
class Context:
    system_properties = {"model_dir": model}; model_name = "fan"; model_yaml_config = {"handler": {"threads": 1}}
    metrics = None
    def get_request_header(self, index, name): return "True" if (index, name) == (2, "explain") else None
    def set_response_content_type(self, index, value): pass
    def set_response_status(self, code, phrase, index): print(code, phrase)
service = handler.ScoringHandler(); service.initialize(Context)
clip = pathlib.Path(sys.argv[3]).read_bytes()
for answer in service.handle([{"body": clip}, {"body": b"x"}, {"body": clip}], Context())[::2]: print(answer)
assert sys.modules["masd"].__file__.startswith(model)
"""
    arguments = [tmp_path / "installed", tmp_path / "model", tmp_path / "clip.wav"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    *statuses, plain, explained = done.stdout.splitlines()
    assert statuses == ["200 OK", "400 Bad Request", "200 OK"]
    assert json.loads(plain)["duration_s"] == pytest.approx(3.0)
    assert set(json.loads(explained)) - set(json.loads(plain)) == {"explanation"}


def test_is_recognised_as_the_archive_of_its_bundle_only(tiny_bundle: Path, mar: Path, tmp_path: Path) -> None:
    assert is_archive_of(mar, tiny_bundle)
    other = shutil.copytree(tiny_bundle, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    (other / "manifest.json").write_text(json.dumps({**manifest, "version": "9"}), encoding="utf-8")
    assert not is_archive_of(mar, other)
    assert not is_archive_of(tmp_path / "missing.mar", tiny_bundle)
    assert not is_archive_of(tiny_bundle / "config.yaml", tiny_bundle)


def test_a_bundle_that_does_not_verify_is_not_archived(tiny_bundle: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    with (broken / "network.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(MasdError, match=r"network\.safetensors"):
        archive(broken, tmp_path / "broken.mar")
    assert not list(tmp_path.glob("*.mar*"))


def _names(mar: Path) -> set[str]:
    with zipfile.ZipFile(mar) as content:
        return set(content.namelist())


def test_shared_workers_get_the_bundle_without_code_unless_somebody_has_changed_its_archive(
    tiny_bundle: Path, mar: Path, tmp_path: Path
) -> None:
    bundle, out = shutil.copytree(tiny_bundle, tmp_path / "bundle"), tmp_path / "out.mar"
    shutil.copyfile(mar, bundle / "fan.mar")
    assert deploy(bundle, out, shared=True)
    assert MARK in _names(out)
    assert not [name for name in _names(out) if name.startswith(("masd/", "serving/"))]
    assert {name for name in _names(mar) if name.startswith("bundle/")} < _names(out)
    assert not deploy(bundle, out, shared=False)
    assert out.read_bytes() == mar.read_bytes()
    with zipfile.ZipFile(mar) as whole, zipfile.ZipFile(bundle / "fan.mar", "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, whole.read(name) + (b"\n# changed\n" if name == "handler.py" else b""))
    assert not deploy(bundle, out, shared=True)
    assert out.read_bytes() == (bundle / "fan.mar").read_bytes()


def test_a_bundle_of_a_schema_that_is_not_read_is_served_by_its_archive(
    tiny_bundle: Path, mar: Path, tmp_path: Path
) -> None:
    bundle, out = shutil.copytree(tiny_bundle, tmp_path / "bundle"), tmp_path / "out.mar"
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}), encoding="utf-8")
    with pytest.raises(MasdError, match="schema 1 is older"):
        deploy(bundle, out, shared=True)
    with zipfile.ZipFile(mar) as whole, zipfile.ZipFile(bundle / "fan.mar", "w") as old:
        for name in whole.namelist():
            old.writestr(name, whole.read(name))
    with zipfile.ZipFile(bundle / "fan.mar", "a") as old, pytest.warns(UserWarning, match="Duplicate name"):
        old.writestr("bundle/manifest.json", (bundle / "manifest.json").read_bytes())
    assert not deploy(bundle, out, shared=True)
    assert out.read_bytes() == (bundle / "fan.mar").read_bytes()
