"""What a cluster is given: the golden files, and the shapes of the two scopes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from masd.config import Settings
from pipelines.compile import GOLDEN, GOLDEN_IMAGE, compile_golden, compile_pipelines
from pipelines.placement import ALARMS_VARIABLES, BUCKET_VARIABLES

RENEW = "if the change is meant, run: python -m pipelines.compile"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compiled")
    compile_golden(out)
    return out


def _load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return spec, platform


def _golden_text(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("sdkVersion:")]


def test_golden_files(compiled: Path) -> None:
    names = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.glob("**/*.yaml"))
    assert names == sorted(str(path.relative_to(compiled)) for path in compiled.glob("**/*.yaml"))
    for name in names:
        assert _golden_text(compiled / name) == _golden_text(GOLDEN / name), f"{name} differs; {RENEW}"


def _tasks(spec: dict[str, Any], component: str | None = None) -> set[str]:
    dag = spec["root"]["dag"] if component is None else spec["components"][component]["dag"]
    return set(dag["tasks"])


def test_machine_scope_trains_inside_the_loop(compiled: Path) -> None:
    spec, _ = _load(compiled / "machine" / "training.yaml")
    assert _tasks(spec) == {"for-loop-1", "report"}
    judged = {"fit-detectors", "controls", "evaluate", "gate", "condition-branches-2"}
    assert _tasks(spec, "comp-for-loop-1") == {"fingerprint", "featurize", "train"} | judged


def test_fleet_scope_trains_before_the_loop(compiled: Path) -> None:
    spec, _ = _load(compiled / "fleet" / "training.yaml")
    assert _tasks(spec) == {"fingerprint", "featurize", "train", "for-loop-1", "report"}
    judged = {"fit-detectors", "controls", "evaluate", "gate", "condition-branches-2"}
    assert _tasks(spec, "comp-for-loop-1") == judged


@pytest.mark.parametrize("scope", ["machine", "fleet"])
def test_every_decision_is_packaged(compiled: Path, scope: str) -> None:
    spec, _ = _load(compiled / scope / "training.yaml")
    branches = spec["components"]["comp-condition-branches-2"]["dag"]["tasks"]
    assert [branch["taskInfo"]["name"] for branch in branches.values()] == ["passed", "asked", "refused"]
    shipped = [spec["components"][branch["componentRef"]["name"]]["dag"]["tasks"] for branch in branches.values()]
    assert [task["taskInfo"]["name"] for tasks in shipped for task in tasks.values()] == [
        "promote",
        "await approval",
        "keep candidate",
    ]


@pytest.mark.parametrize("scope", ["machine", "fleet"])
def test_monitoring_retrains_inside_the_condition(compiled: Path, scope: str) -> None:
    spec, _ = _load(compiled / scope / "monitoring.yaml")
    assert _tasks(spec) == {"alarms", "drift", "condition-1"}
    (training,) = spec["components"]["comp-condition-1"]["dag"]["tasks"].values()
    again = training["inputs"]["parameters"]["machines"]["componentInputParameter"]
    assert again == ("pipelinechannel--drift-machines" if scope == "machine" else "pipelinechannel--machines")


def _files(compiled: Path) -> list[Path]:
    files = sorted(compiled.glob("**/*.yaml"))
    assert len(files) == 4
    return files


def _executors(path: Path) -> dict[str, Any]:
    return dict(_load(path)[0]["deploymentSpec"]["executors"])


def test_every_task_has_limits_image_and_a_home(compiled: Path) -> None:
    for path in _files(compiled):
        for name, executor in _executors(path).items():
            container = executor["container"]
            assert container["image"] == GOLDEN_IMAGE, name
            resources = container["resources"]
            assert {
                "resourceCpuLimit",
                "resourceCpuRequest",
                "resourceMemoryLimit",
                "resourceMemoryRequest",
            } <= set(resources), name
            env = {item["name"]: item["value"] for item in container["env"]}
            assert env == {
                "HOME": "/tmp",
                "MASD_ACTOR": "pipeline",
                "OMP_NUM_THREADS": resources["resourceCpuLimit"],
            }, name


def test_training_alone_asks_for_a_gpu_and_shared_memory(compiled: Path) -> None:
    """So a nightly monitoring run that finds no drift, and does not come to its training, waits for no GPU."""
    for file in _files(compiled):
        assert {
            name for name, executor in _executors(file).items() if "accelerator" in executor["container"]["resources"]
        } == {"exec-train"}, file
    path = compiled / "machine" / "training.yaml"
    platform = _load(path)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name for name, executor in platform.items() if "emptyDirMounts" in executor} == {"exec-train"}
    assert {name for name, executor in platform.items() if "pvcMount" in executor} == {
        "exec-evaluate",
        "exec-featurize",
        "exec-fingerprint",
        "exec-gate",
        "exec-package",
        "exec-package-2",
        "exec-package-3",
    }


def _platform(path: Path) -> dict[str, Any]:
    return dict(_load(path)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"])


def test_every_task_ends_some_time_and_can_be_found(compiled: Path) -> None:
    for path in _files(compiled):
        platform = _platform(path)
        assert set(platform) == set(_executors(path))
        for name, executor in platform.items():
            step = re.sub(r"^exec-|-\d+$", "", name)
            assert 3600 <= int(executor["activeDeadlineSeconds"]) <= 86400, name
            assert executor["podMetadata"]["labels"] == {
                "app.kubernetes.io/part-of": "masd",
                "app.kubernetes.io/component": step,
            }
            assert executor["podMetadata"]["annotations"] == {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
            }


def _task_problems(path: Path) -> list[str]:
    """Tasks whose retries end before their tries can, and constants in which the back-end replaces no placeholder."""
    spec, _ = _load(path)
    limits = {name: int(executor["activeDeadlineSeconds"]) for name, executor in _platform(path).items()}
    problems = []
    for dag in (spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)):
        for name, task in dag["tasks"].items():
            executor = spec["components"].get(task["componentRef"]["name"], {}).get("executorLabel")
            if executor is not None:
                retry = {"maxRetryCount": 0, "backoffMaxDuration": "0s", **task.get("retryPolicy", {})}
                tries = retry["maxRetryCount"] + 1
                if tries < 2:
                    problems.append(f"{path.name}: {name} is not retried")
                elif int(retry["backoffMaxDuration"].removesuffix("s")) <= tries * limits[executor]:
                    problems.append(f"{path.name}: {name} has no time for {tries} tries")
            for parameter, value in task.get("inputs", {}).get("parameters", {}).items():
                constant = str(value.get("runtimeValue", {}).get("constant", ""))
                if "{{$." in constant and not re.fullmatch(r"\{\{\$\.\w+\}\}", constant):
                    problems.append(f"{path.name}: {name}: {parameter} has a placeholder inside a longer text")
    return problems


def test_tries_have_time_and_placeholders_are_whole(compiled: Path) -> None:
    paths = list(compiled.glob("**/*.yaml"))
    assert len(paths) == 4
    assert [problem for path in paths for problem in _task_problems(path)] == []
    assert all("{{$.pipeline_job_uuid}}" in path.read_text(encoding="utf-8") for path in paths)


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        ("backoffMaxDuration: 345600s", "backoffMaxDuration: 3600s", "train has no time for 3 tries"),
        ("maxRetryCount: 2", "maxRetryCount: 0", "gate is not retried"),
        ("'{{$.pipeline_job_uuid}}'", "run {{$.pipeline_job_uuid}}", "run_id has a placeholder inside"),
    ],
)
def test_a_broken_task_is_noticed(compiled: Path, tmp_path: Path, good: str, bad: str, problem: str) -> None:
    text = (compiled / "machine" / "training.yaml").read_text(encoding="utf-8")
    assert good in text
    (tmp_path / "training.yaml").write_text(text.replace(good, bad), encoding="utf-8")
    assert any(problem in found for found in _task_problems(tmp_path / "training.yaml"))


def test_credentials_of_the_bucket_come_from_a_secret_that_need_not_be_there(compiled: Path) -> None:
    path = compiled / "machine" / "monitoring.yaml"
    with_secret = {
        name: executor["secretAsEnv"] for name, executor in _platform(path).items() if "secretAsEnv" in executor
    }
    steps = {re.sub(r"^exec-|-\d+$", "", name) for name in with_secret}
    assert steps == {"alarms", "drift", "fingerprint", "featurize", "evaluate", "gate", "package"}
    for secret, *others in with_secret.values():
        assert secret["secretName"] == "masd-s3"
        assert secret["optional"] is True
        assert {key["envVar"] for key in secret["keyToEnv"]} == set(BUCKET_VARIABLES)
        assert [other["secretName"] for other in others] in ([], ["masd-alarms"])


def test_recipients_of_alarms_come_from_a_secret_that_need_not_be_there(compiled: Path) -> None:
    _, secret = _platform(compiled / "machine" / "monitoring.yaml")["exec-alarms"]["secretAsEnv"]
    assert (secret["secretName"], secret["optional"]) == ("masd-alarms", True)
    assert {key["envVar"] for key in secret["keyToEnv"]} == set(ALARMS_VARIABLES)


def test_training_goes_to_a_node_with_a_gpu(compiled: Path) -> None:
    selected = {
        name: executor["nodeSelector"]["labels"]
        for name, executor in _platform(compiled / "fleet" / "training.yaml").items()
        if "nodeSelector" in executor
    }
    assert selected == {"exec-train": {"nvidia.com/gpu.present": "true"}}


def test_without_gpu_with_own_volume_and_settings(tmp_path: Path) -> None:
    training, _ = compile_pipelines(
        tmp_path,
        Settings.load(None, ["seed=7"]),
        image="registry.example/masd@sha256:0",
        volume="v",
        gpu=False,
    )
    text = training.read_text(encoding="utf-8")
    assert "nvidia.com/gpu" not in text
    assert "constant: v\n" in text
    assert _load(training)[0]["root"]["inputDefinitions"]["parameters"]["config"]["defaultValue"] == (
        '{"seed": 7, "training": {"scope": "machine"}}'
    )
    assert text.count("image: registry.example/masd@sha256:0") == len(_executors(training))
