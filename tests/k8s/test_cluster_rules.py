"""The manifests hold what a cluster has shown to be needed, and each rule notices when they do not."""

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cluster_rules import (
    needs_zones,
    network_problems,
    one_shot_problems,
    requested,
    spread_problems,
    storage_problems,
)
from manifests import K8S, Object, name_of, pods, render, render_component

from serving.front.auth import StaticToken

OVERLAYS = ("base", "overlays/dev", "overlays/prod")
COMPONENTS = ("board", "gpu", "kserve", "prometheus", "zones")
DOCS = (K8S.parent / "docs" / "operating" / "kubernetes.md").read_text(encoding="utf-8")
SECRET = next(yaml.safe_load_all((K8S / "secrets.template.yaml").read_text(encoding="utf-8")))
STORAGE = yaml.safe_load((K8S / "components/kserve/cluster-storage-container.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    built = {name: render(K8S / name) for name in OVERLAYS}
    for name in COMPONENTS:
        built[name] = render_component(name, tmp_path_factory.mktemp(name))
    built["kserve in dev"] = render_component("kserve", tmp_path_factory.mktemp("dev"), onto="overlays/dev")
    return built


def test_no_rule_is_broken(rendered: dict[str, list[Object]]) -> None:
    for name, objects in rendered.items():
        assert spread_problems(objects) == [], name
        assert one_shot_problems(objects) == [], name
        assert network_problems(objects) == [], name
        assert (needs_zones(objects) != []) == (name == "zones")


def test_dev_fits_two_cores(rendered: dict[str, list[Object]]) -> None:
    """A control plane on the same node asks for about one of them."""
    assert requested(rendered["overlays/dev"], "cpu") <= 1
    assert requested(rendered["overlays/dev"], "memory") <= 6 * 2**30
    assert requested(rendered["overlays/prod"], "cpu") > 2


def test_the_nightly_check_holds_no_gpu(rendered: dict[str, list[Object]]) -> None:
    for name in ("gpu", "overlays/prod"):
        with_gpu = {
            pod.where
            for pod in pods(rendered[name])
            if any("nvidia.com/gpu" in box["resources"]["limits"] for box in pod.containers)
        }
        assert with_gpu == {"CronJob/masd-retrain", "TrainingRuntime/masd-share"}


def test_a_training_is_a_template_that_leads_to_the_runtime(rendered: dict[str, list[Object]]) -> None:
    job = yaml.safe_load((K8S / "train-job.template.yaml").read_text(encoding="utf-8"))
    assert job["kind"] == "TrainJob"
    assert "name" not in job["metadata"] and "suspend" not in job["spec"]
    reference = job["spec"]["runtimeRef"]
    assert f"{reference['kind']}/{reference['name']}" in {name_of(item) for item in rendered["gpu"]}


def test_the_storage_container_is_let_in_and_told_where_the_bucket_is(rendered: dict[str, list[Object]]) -> None:
    assert storage_problems(STORAGE, SECRET) == []
    for objects in rendered.values():
        assert "ClusterStorageContainer" not in {item["kind"] for item in objects}


Change = Callable[[str], str]


def _replaced(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


BROKEN: dict[str, tuple[Callable[[list[Object]], list[str]], str, Change, str]] = {
    "no number of zones": (spread_problems, "zones", _replaced('"minDomains": 3, ', ""), "asks for no number"),
    "a job that is applied": (
        one_shot_problems,
        "gpu",
        _replaced('"kind": "TrainingRuntime"', '"kind": "TrainJob"'),
        "applied again",
    ),
    "dns of other ports": (
        network_problems,
        "base",
        _replaced('"port": 5353', '"port": 53'),
        "not reach DNS at [(5353",
    ),
    "dns over UDP alone": (
        network_problems,
        "base",
        _replaced('"port": 53, "protocol": "TCP"', '"port": 53, "protocol": "UDP"'),
        "not reach DNS at [(53, 'TCP",
    ),
    "IPv4 alone": (network_problems, "overlays/prod", _replaced('"::/0"', '"fd00::/8"'), "over ::/0"),
    "a port of its own": (
        network_problems,
        "overlays/prod",
        _replaced("https://s3.example.com", "https://s3.example.com:9000"),
        "CronJob/masd-drift: does not reach https://s3.example.com:9000",
    ),
    "metadata over IPv6": (
        network_problems,
        "base",
        _replaced('"fd00:ec2::/32"', '"fd00:ec3::/32"'),
        "metadata services",
    ),
    "metadata over IPv4": (
        network_problems,
        "base",
        _replaced('"169.254.0.0/16"', '"10.0.0.0/8"'),
        "metadata services",
    ),
    "another store": (
        network_problems,
        "overlays/dev",
        _replaced('"ports": [{"port": 8333, "protocol": "TCP"}]', '"ports": [{"port": 443, "protocol": "TCP"}]'),
        "does not reach http://masd-s3:8333",
    ),
    "KServe's pods unlabelled": (
        network_problems,
        "kserve in dev",
        _replaced('"labels": {"app.kubernetes.io/part-of": "masd"}, "maxReplicas"', '"labels": {}, "maxReplicas"'),
        "ServingRuntime/masd: does not reach http://masd-s3:8333",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_manifest_is_noticed(rendered: dict[str, list[Object]], name: str) -> None:
    rule, which, change, problem = BROKEN[name]
    found = rule(json.loads(change(json.dumps(rendered[which], sort_keys=True))))
    assert any(problem in text for text in found), found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"allowPrivilegeEscalation": false', '"allowPrivilegeEscalation": true', "gain privileges"),
        ('"ALL"', '"NET_RAW"', "gain privileges"),
        ('"runAsNonRoot": true', '"runAsNonRoot": false', "not restricted"),
        ('"RuntimeDefault"', '"Unconfined"', "not restricted"),
        ('"name": "storage-initializer"', '"name": "fetch"', "by this name"),
        ('"s3://"', '"gs://"', "for S3"),
        ("serving.kserve.io/s3-endpoint", "MASD_S3_ENDPOINT", "no annotation s3-endpoint"),
        ('"s3.example.com"', '"https://s3.example.com"', "scheme"),
    ],
)
def test_a_broken_storage_container_is_noticed(old: str, new: str, problem: str) -> None:
    container, secret = json.loads(_replaced(old, new)(json.dumps([STORAGE, SECRET])))
    assert any(problem in text for text in storage_problems(container, secret))


def test_a_job_more_does_not_fit_two_cores(rendered: dict[str, list[Object]]) -> None:
    objects = copy.deepcopy(rendered["overlays/dev"])
    objects += [item for item in objects if item["kind"] == "CronJob"]
    assert requested(objects, "cpu") > 1


def test_the_documented_token_has_no_newline_and_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = re.findall(r"^(openssl .*> token)$", DOCS, re.MULTILINE)
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    content = (tmp_path / "token").read_bytes()
    assert len(content) == 64 and not content.endswith(b"\n")
    (tmp_path / "token").write_bytes(content + b"\n")  # as of a secret that was made another way
    monkeypatch.setenv("MASD_TOKEN_FILE", str(tmp_path / "token"))
    assert StaticToken.from_environment().matches(b"Bearer " + content)


def test_the_documented_folders_are_those_that_pods_write_to(rendered: dict[str, list[Object]]) -> None:
    """A volume that ignores fsGroup needs them made and owned by hand."""
    (command,) = re.findall(r"^(mkdir .*&& chown .*)$", DOCS, re.MULTILINE)
    owner, *folders = command.partition("chown -R ")[2].split()
    used = set()
    for pod in pods([item for objects in rendered.values() for item in objects]):
        shared = {volume["name"] for volume in pod.spec.get("volumes", []) if "persistentVolumeClaim" in volume}
        for box in pod.containers:
            mounts = [mount for mount in box.get("volumeMounts", []) if mount["name"] in shared]
            used |= {mount["subPath"] for mount in mounts if "subPath" in mount}
            used |= set(re.findall(r"/mnt/masd/(\w+)", " ".join(box["args"])))
            for _ in mounts:
                user = pod.spec["securityContext"]
                assert owner == f"{user['runAsUser']}:{user['runAsGroup']}"
    assert used == set(folders)
    assert set(command.partition(" &&")[0].removeprefix("mkdir -p ").split()) == used
