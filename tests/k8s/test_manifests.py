"""The manifests in k8s/: they build, follow the schemas and the policies, and every name in them leads somewhere."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manifests
import pytest
import yaml
from manifests import (
    K8S,
    Object,
    name_of,
    policy_problems,
    reference_problems,
    render,
    render_component,
    schema_problems,
)

from masd.cli.main import parser

WHOLE = ("base", "overlays/dev", "overlays/prod")
COMPONENTS = ("board", "gpu", "kserve", "machines", "prometheus", "zones")
SECOND = "overlays/second-group"
"""Beside overlays/prod, and not whole without it."""

SECRETS = list(yaml.safe_load_all((K8S / "secrets.template.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    built = {name: render(K8S / name) for name in WHOLE}
    for name in COMPONENTS:
        built[name] = render_component(name, tmp_path_factory.mktemp(name))
    return built


def test_the_folders_are_those_tested_here() -> None:
    folders = {str(path.parent.relative_to(K8S)) for path in K8S.rglob("kustomization.yaml")}
    assert folders == {*WHOLE, SECOND, *(f"components/{name}" for name in COMPONENTS)}


@pytest.mark.parametrize("name", [*WHOLE, *COMPONENTS])
def test_no_rule_is_broken(rendered: dict[str, list[Object]], name: str) -> None:
    objects = rendered[name]
    assert schema_problems(objects) == []
    assert policy_problems(objects) == []
    assert reference_problems(objects, SECRETS) == []


def test_a_second_group_of_machines_has_a_deployment_of_its_own_beside_the_first(
    rendered: dict[str, list[Object]],
) -> None:
    first, second = rendered["overlays/prod"], render(K8S / SECOND)
    assert not {name_of(item) for item in first} & {name_of(item) for item in second}
    together = [*first, *second]
    assert schema_problems(second) == []
    assert policy_problems(second) == []
    assert reference_problems(together, SECRETS) == []
    deployments = {name_of(item): item["spec"] for item in together if item["kind"] == "Deployment"}
    services = {name_of(item): item["spec"]["selector"] for item in together if item["kind"] == "Service"}
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in deployments.items()}
    for name in ("masd-serve", "masd-serve-2"):
        selected = [pod for pod, own in labels.items() if services[f"Service/{name}"].items() <= own.items()]
        assert selected == [f"Deployment/{name}"], "requests go to the group that has the machine"
    (server,) = deployments["Deployment/masd-serve-2"]["template"]["spec"]["containers"]
    assert "--machines=$(MASD_MACHINES)" in server["args"]
    (listed,) = [item["data"]["MASD_MACHINES"] for item in second if item["kind"] == "ConfigMap"]
    mine = listed.split(",")
    theirs = next(item["data"]["MASD_MACHINES"] for item in first if name_of(item).startswith("ConfigMap/masd-"))
    assert not set(mine) & set(theirs.split(","))


def test_every_kind_that_was_asked_for_is_there(rendered: dict[str, list[Object]]) -> None:
    kinds = {item["kind"] for objects in rendered.values() for item in objects}
    assert kinds == {
        *("Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Service", "NetworkPolicy"),
        *("Deployment", "StatefulSet", "CronJob", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
        *("PodMonitor", "PrometheusRule", "ServiceMonitor", "ServingRuntime", "InferenceService", "TrainingRuntime"),
    }


def test_no_secret_is_written_down(rendered: dict[str, list[Object]]) -> None:
    assert not [item for objects in rendered.values() for item in objects if item["kind"] == "Secret"]
    values = [value for secret in SECRETS for value in secret["stringData"].values()]
    assert all("REPLACE" in value for value in values)


@pytest.mark.parametrize("overlay", ["overlays/dev", "overlays/prod"])
def test_namespaces_enforce_restricted_pods(rendered: dict[str, list[Object]], overlay: str) -> None:
    (namespace,) = [item for item in rendered[overlay] if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    name = namespace["metadata"]["name"]
    assert {item["metadata"].get("namespace", name) for item in rendered[overlay]} == {name}
    denied = [item["spec"] for item in rendered[overlay] if name_of(item) == "NetworkPolicy/default-deny"]
    assert denied == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]


def test_production_runs_digests_and_has_no_s3_server(rendered: dict[str, list[Object]]) -> None:
    images = {box["image"] for pod in manifests.pods(rendered["overlays/prod"]) for box in pod.containers}
    assert images
    assert all("@sha256:" in image for image in images)
    assert "masd-s3" not in {item["metadata"]["name"] for item in rendered["overlays/prod"]}
    assert "StatefulSet/masd-s3" in {name_of(item) for item in rendered["overlays/dev"]}


def test_only_scoring_can_be_reached(rendered: dict[str, list[Object]]) -> None:
    services = [item for item in rendered["overlays/prod"] if item["kind"] == "Service"]
    assert [(name_of(item), [port["targetPort"] for port in item["spec"]["ports"]]) for item in services] == [
        ("Service/masd-serve", ["http"])
    ]
    (serving,) = [pod for pod in manifests.pods(rendered["overlays/prod"]) if pod.where == "Deployment/masd-serve"]
    assert [port["containerPort"] for box in serving.containers for port in box.get("ports", [])] == [8080]


def test_the_board_is_off_by_default_only_shows_and_writes_the_alarms_alone(
    rendered: dict[str, list[Object]],
) -> None:
    assert not [name for name in WHOLE if "Deployment/masd-board" in map(name_of, rendered[name])]
    (pod,) = [pod for pod in manifests.pods(rendered["board"]) if pod.where == "Deployment/masd-board"]
    (box,) = pod.containers
    assert "--allow-changes" not in box["args"]
    assert [mount["mountPath"] for mount in box["volumeMounts"] if not mount.get("readOnly")] == [
        "/tmp",
        "/mnt/masd/log-alarms",
    ]


def test_the_gpu_component_gives_training_a_gpu_and_room_for_shared_memory(rendered: dict[str, list[Object]]) -> None:
    trains = [pod for pod in manifests.pods(rendered["gpu"]) if pod.kind in ("CronJob", "TrainingRuntime")]
    assert [pod.where for pod in trains] == [
        "CronJob/masd-drift",
        "CronJob/masd-retrain",
        "TrainingRuntime/masd-share",
    ]
    for pod in trains[1:]:
        assert pod.containers[0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert pod.spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert {mount["mountPath"] for mount in pod.containers[0]["volumeMounts"]} >= {"/dev/shm", "/tmp"}
    (runtime,) = [item for item in rendered["gpu"] if item["kind"] == "TrainingRuntime"]
    env = {item["name"]: item.get("value") for item in trains[2].containers[0]["env"]}
    assert runtime["spec"]["mlPolicy"]["numNodes"] == int(env["MASD_NODES"])


def test_commands_and_options_are_those_of_masd(rendered: dict[str, list[Object]]) -> None:
    """What the pods run, read by masd's own command line."""
    commands = set()
    for pod in manifests.pods([item for objects in rendered.values() for item in objects]):
        for box in pod.containers:
            if "masd/" not in box["image"] or box.get("command") not in (None, ["masd"]):
                continue
            arguments = [re.sub(r"\$\((\w+)\)", r"\1", argument) for argument in box["args"]]
            options = parser().parse_args(arguments)
            commands.add((options.command, getattr(options, "action", None)))
    assert commands == {
        *(("serve", None), ("pipeline", "run"), ("pipeline", "monitor"), ("board", None), ("alarms", None)),
    }


def test_nodes_of_a_training_share_the_machine_types(rendered: dict[str, list[Object]], tmp_path: Path) -> None:
    """The script itself, with a masd that only says what it was asked for."""
    (training,) = [pod for pod in manifests.pods(rendered["gpu"]) if pod.kind == "TrainingRuntime"]
    box = training.containers[0]
    (tmp_path / "masd").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "masd").chmod(0o755)
    seen = []
    for index in range(4):
        variables = {
            **{"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(index), "MASD_NODES": "4"},
            **{"MASD_MACHINES": "fan,valve,pump,slider,gearbox", "MASD_REGISTRY": "s3://masd/registry"},
        }
        script = [*box["command"], *box["args"]]
        done = subprocess.run(script, env=variables, capture_output=True, text=True, check=True)
        seen.append(done.stdout.split())
    machines = [words[words.index("--machines") + 1] for words in seen]
    assert machines == ["fan,gearbox", "valve", "pump", "slider"]
    assert len({words[words.index("--out") + 1] for words in seen}) == 4


# Deliberately broken copies: each rule has to notice.

Break = Callable[[Any], None]


def _security(key: str, value: Any) -> Break:
    def change(pod: Any) -> None:
        pod.containers[0]["securityContext"][key] = value

    return change


def _set(key: str, value: Any) -> Break:
    def change(pod: Any) -> None:
        pod.spec[key] = value

    return change


def _everywhere(key: str) -> Break:
    """Take a security setting from the pod and its container."""

    def change(pod: Any) -> None:
        pod.spec.get("securityContext", {}).pop(key, None)
        pod.containers[0]["securityContext"].pop(key, None)

    return change


def _without(*path: str) -> Break:
    def change(pod: Any) -> None:
        place = pod.containers[0]
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


BROKEN_PODS: dict[str, tuple[Break, str]] = {
    "root allowed": (_everywhere("runAsNonRoot"), "may run as root"),
    "no user": (_everywhere("runAsUser"), "may run as root"),
    "no seccomp": (_everywhere("seccompProfile"), "no seccomp profile"),
    "escalation": (_security("allowPrivilegeEscalation", True), "may gain privileges"),
    "privileged": (_security("privileged", True), "may gain privileges"),
    "a capability": (_security("capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}), "keeps capabilities"),
    "no drop": (_without("securityContext", "capabilities"), "keeps capabilities"),
    "writable root": (_security("readOnlyRootFilesystem", False), "can write to its root"),
    "no limits": (_without("resources", "limits", "memory"), "no limits of memory"),
    "no requests": (_without("resources", "requests"), "no requests of cpu"),
    "a token": (_set("automountServiceAccountToken", True), "service-account token"),
    "default account": (_set("serviceAccountName", ""), "no service account"),
    "host network": (_set("hostNetwork", True), "uses hostNetwork"),
}
PODS = ("Deployment", "StatefulSet", "CronJob", "TrainingRuntime", "ServingRuntime")


def _with_kind(rendered: dict[str, list[Object]], kind: str) -> list[Object]:
    return copy.deepcopy(next(objects for objects in rendered.values() if any(o["kind"] == kind for o in objects)))


def _pod_of(objects: list[Object], kind: str) -> manifests.Pod:
    pod = next(pod for pod in manifests.pods(objects) if pod.kind == kind)
    assert policy_problems(objects) == []
    return pod


@pytest.mark.parametrize("kind", PODS)
@pytest.mark.parametrize("name", BROKEN_PODS)
def test_a_broken_pod_of_every_kind_is_noticed(rendered: dict[str, list[Object]], kind: str, name: str) -> None:
    pod = _pod_of(_with_kind(rendered, kind), kind)
    change, problem = BROKEN_PODS[name]
    change(pod)
    found = list(manifests._pod_problems(pod))
    assert any(problem in text for text in found), found


@pytest.mark.parametrize("kind", sorted(manifests.LONG_RUNNING))
@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_missing_probe_is_noticed(rendered: dict[str, list[Object]], kind: str, probe: str) -> None:
    objects = _with_kind(rendered, kind)
    _without(probe)(_pod_of(objects, kind))
    (problem,) = policy_problems(objects)
    assert problem.endswith(f"has no {probe}")


BUILT_IN = (
    *("Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Service", "NetworkPolicy", "Deployment"),
    *("StatefulSet", "CronJob", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_an_unknown_field_of_every_built_in_kind_is_noticed(rendered: dict[str, list[Object]], kind: str) -> None:
    objects = _with_kind(rendered, kind)
    item = next(o for o in objects if o["kind"] == kind)
    item.setdefault("spec", item)["replicsa"] = 1
    assert any(problem.startswith(name_of(item)) for problem in schema_problems(objects))


def _replace(old: str, new: str) -> Callable[[list[Object]], list[Object]]:
    def change(objects: list[Object]) -> list[Object]:
        text = json.dumps(objects)
        assert old in text
        return list(json.loads(text.replace(old, new)))

    return change


def _drop(name: str) -> Callable[[list[Object]], list[Object]]:
    return lambda objects: [item for item in objects if name_of(item) != name]


BROKEN_NAMES = {
    "config map": (
        "overlays/prod",
        _replace('"configMapRef": {"name": "', '"configMapRef": {"name": "x'),
        "no ConfigMap xmasd-",
    ),
    "secret": (
        "overlays/prod",
        _replace('"secretName": "masd-serve-token"', '"secretName": "token"'),
        "no Secret token",
    ),
    "service account": ("base", _drop("ServiceAccount/masd-jobs"), "no ServiceAccount masd-jobs"),
    "claim": ("base", _drop("PersistentVolumeClaim/masd"), "no PersistentVolumeClaim masd"),
    "volume": (
        "base",
        _replace('"mountPath": "/tmp", "name": "tmp"', '"mountPath": "/tmp", "name": "x"'),
        "no volume x",
    ),
    "port of a probe": (
        "base",
        _replace('"path": "/ready", "port": "http"', '"path": "/ready", "port": "web"'),
        "asks port web",
    ),
    "port of a service": ("base", _replace('"targetPort": "http"', '"targetPort": "web"'), "has no port web"),
    "port of a policy": ("base", _replace('"ports": [{"port": "http"', '"ports": [{"port": "web"'), "has no port web"),
    "pods of a service": (
        "base",
        _replace('"selector": {"app.kubernetes.io/name": "masd-serve"}', '"selector": {"app": "x"}'),
        "Service/masd-serve: selects no pod",
    ),
    "pods of a budget": (
        "base",
        _replace('"unhealthyPodEvictionPolicy": "AlwaysAllow"', '"selector": {"matchLabels": {"app": "x"}}'),
        "selects no pod",
    ),
    "target of the autoscaler": (
        "base",
        _replace('"kind": "Deployment", "name": "masd-serve"}', '"kind": "Deployment", "name": "serve"}'),
        "no Deployment serve",
    ),
    "service of a stateful set": ("overlays/dev", _drop("Service/masd-s3"), "no Service masd-s3"),
    "runtime of a service": ("kserve", _drop("ServingRuntime/masd"), "no ServingRuntime masd"),
    "service of a monitor": ("prometheus", _drop("Service/masd-serve"), "selects no service"),
    "port of a monitor": (
        "prometheus",
        _replace('"path": "/metrics", "port": "http"', '"path": "/metrics", "port": "web"'),
        "port web",
    ),
    "pods of a pod monitor": ("prometheus", _drop("Deployment/masd-alarms"), "PodMonitor/masd-alarms: selects no pod"),
    "port of a pod monitor": (
        "prometheus",
        _replace('"path": "/metrics", "port": "metrics", "scrape', '"path": "/metrics", "port": "web", "scrape'),
        "PodMonitor/masd-alarms: Deployment/masd-alarms has no port web",
    ),
    "key of a secret": ("prometheus", _replace('"key": "token"', '"key": "secret"'), "has no key secret"),
}


@pytest.mark.parametrize("name", BROKEN_NAMES)
def test_a_name_that_leads_nowhere_is_noticed(rendered: dict[str, list[Object]], name: str) -> None:
    which, change, problem = BROKEN_NAMES[name]
    found = reference_problems(change(copy.deepcopy(rendered[which])), SECRETS)
    assert any(problem in text for text in found), found
