"""Rules for Kubernetes manifests, each a function from objects to a list of problems; none: the rule holds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

K8S = Path(__file__).parents[2] / "k8s"
SCHEMA_VERSION = "1.37"

CUSTOM_KINDS = {
    *("InferenceService", "ServingRuntime", "TrainingRuntime"),
    *("PodMonitor", "PrometheusRule", "ServiceMonitor"),
}
"""Kinds of Kubeflow, KServe and the Prometheus operator, whose schemas are not Kubernetes'."""

LONG_RUNNING = {"Deployment", "StatefulSet", "ServingRuntime"}

Object = dict[str, Any]


def render(folder: Path) -> list[Object]:
    """What ``kubectl kustomize`` makes of a folder."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def render_component(name: str, work: Path, onto: str = "base") -> list[Object]:
    """The base, or an overlay, with one component, as an overlay would join them."""
    joined = {
        "resources": [os.path.relpath(K8S / onto, work.resolve())],
        "components": [os.path.relpath(K8S / "components" / name, work.resolve())],
    }
    (work / "kustomization.yaml").write_text(yaml.safe_dump(joined))
    return render(work)


def name_of(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


@dataclass(frozen=True)
class Pod:
    """A pod that an object makes; ``kind`` and ``where`` are that object's, ``claims`` are made with the pod."""

    kind: str
    where: str
    spec: Object
    labels: dict[str, str]
    claims: list[str] = field(default_factory=list)

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(objects: list[Object]) -> Iterator[Pod]:
    for item in objects:
        kind, where, spec = item["kind"], name_of(item), item.get("spec", {})
        if kind == "ServingRuntime":  # KServe joins its containers with the settings of the service that uses it
            service = next(o for o in objects if _runtime(o) == item["metadata"]["name"])
            predictor = {key: value for key, value in service["spec"]["predictor"].items() if key != "model"}
            labels = predictor.pop("labels") | {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
            yield Pod(kind, where, {**predictor, **spec}, labels)
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
        for template in _templates(kind, spec):
            yield Pod(kind, where, template["spec"], template["metadata"].get("labels", {}), claims)


def _runtime(item: Object) -> str | None:
    return item["spec"]["predictor"]["model"]["runtime"] if item["kind"] == "InferenceService" else None


def _templates(kind: str, spec: Object) -> list[Object]:
    if kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return [spec["template"]]
    if kind == "CronJob":
        return [spec["jobTemplate"]["spec"]["template"]]
    if kind == "TrainingRuntime":
        return [job["template"]["spec"]["template"] for job in spec["template"]["spec"]["replicatedJobs"]]
    return []


def schema_problems(objects: list[Object]) -> list[str]:
    """Strict: a field that the schema does not know is a problem too. Of a custom kind, its pods are looked at."""
    problems = []
    for item in objects:
        if item["kind"] not in CUSTOM_KINDS:
            problems += _against_schema(item, name_of(item))
    for pod in pods([item for item in objects if item["kind"] in CUSTOM_KINDS]):
        if pod.kind == "TrainingRuntime":
            whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod.spec}
        else:
            known = {key: pod.spec[key] for key in ("containers", "volumes")}
            whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": known}
        problems += _against_schema(whole, pod.where)
    return problems


def _against_schema(item: Object, where: str) -> list[str]:
    try:
        kubernetes_validate.validate(item, SCHEMA_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{where}: {error.message}"]
    return []


def policy_problems(objects: list[Object]) -> list[str]:
    """Pod Security "restricted", and what else is asked of every pod."""
    return [f"{pod.where}: {problem}" for pod in pods(objects) for problem in _pod_problems(pod)]


def _pod_problems(pod: Pod) -> Iterator[str]:
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "gets a service-account token"
    if not pod.spec.get("serviceAccountName"):
        yield "has no service account of its own"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield f"uses {key}"
    if any("hostPath" in volume for volume in pod.spec.get("volumes", [])):
        yield "mounts a path of the node"
    shared = pod.spec.get("securityContext", {})
    for container in pod.containers:
        for problem in _container_problems(container, shared, pod.kind):
            yield f"{container['name']}: {problem}"


def _container_problems(container: Object, shared: Object, kind: str) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**shared, **own}
    if both.get("runAsNonRoot") is not True or not both.get("runAsUser"):
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "may gain privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "can write to its root file system"
    resources = container.get("resources", {})
    for part in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            if resource not in resources.get(part, {}):
                yield f"has no {part} of {resource}"
    if kind in LONG_RUNNING:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield f"has no {probe}"


def reference_problems(objects: list[Object], given: list[Object]) -> list[str]:
    """Names that lead nowhere; ``given`` are objects that the cluster's owner makes (the secrets)."""
    everything = [*objects, *given]
    there = {name_of(item) for item in everything}
    keys = {name_of(item): {**item.get("data", {}), **item.get("stringData", {})} for item in everything}
    made = list(pods(objects))
    problems = []

    def need(where: str, kind: str, name: str | None, key: str | None = None) -> None:
        if f"{kind}/{name}" not in there:
            problems.append(f"{where}: there is no {kind} {name}")
        elif key is not None and key not in keys[f"{kind}/{name}"]:
            problems.append(f"{where}: {kind} {name} has no key {key}")

    for pod in made:
        for kind, name, key in _named_by(pod):
            need(pod.where, kind, name, key)
        problems += [f"{pod.where}: {problem}" for problem in _inside(pod)]
    for item in objects:
        where, spec = name_of(item), item.get("spec", {})
        match item["kind"]:
            case "Service":
                problems += _service_problems(where, spec, made)
            case "PodDisruptionBudget" | "NetworkPolicy":
                selector = spec.get("selector", spec.get("podSelector"))
                problems += _selector_problems(where, selector, made)
                for rule in spec.get("ingress", []):
                    named = [port["port"] for port in rule.get("ports", []) if isinstance(port["port"], str)]
                    chosen = _chosen(selector, made)
                    problems += [
                        f"{where}: {pod.where} has no port {p}" for p in named for pod in chosen if p not in _ports(pod)
                    ]
            case "Deployment" | "StatefulSet":
                labels = spec["template"]["metadata"]["labels"]
                if not spec["selector"]["matchLabels"].items() <= labels.items():
                    problems.append(f"{where}: does not select its own pods")
                if item["kind"] == "StatefulSet":
                    need(where, "Service", spec["serviceName"])
            case "HorizontalPodAutoscaler":
                need(where, spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
            case "ServiceMonitor":
                problems += _monitor_problems(where, spec, objects)
                for endpoint in spec["endpoints"]:
                    credentials = endpoint["authorization"]["credentials"]
                    need(where, "Secret", credentials["name"], credentials["key"])
            case "PodMonitor":
                problems += _selector_problems(where, spec["selector"], made)
                named = [endpoint["port"] for endpoint in spec["podMetricsEndpoints"]]
                problems += [
                    f"{where}: {pod.where} has no port {port}"
                    for pod in _chosen(spec["selector"], made)
                    for port in named
                    if port not in _ports(pod)
                ]
            case "InferenceService":
                need(where, "ServingRuntime", _runtime(item))
            case "ServiceAccount":
                for secret in item.get("secrets", []):
                    need(where, "Secret", secret["name"])
    return problems


def _named_by(pod: Pod) -> Iterator[tuple[str, str | None, str | None]]:
    """Kind, name and key of every object that a pod needs."""
    yield "ServiceAccount", pod.spec.get("serviceAccountName"), None
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
    kinds = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
    key_kinds = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
    for container in pod.containers:
        for source in container.get("envFrom", []):
            for field_name, kind in kinds.items():
                if field_name in source:
                    yield kind, source[field_name]["name"], None
        for variable in container.get("env", []):
            for field_name, kind in key_kinds.items():
                if reference := variable.get("valueFrom", {}).get(field_name):
                    yield kind, reference["name"], reference["key"]


def _inside(pod: Pod) -> Iterator[str]:
    """What a pod's containers mount and probe is in the pod, and what it has is used."""
    volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | set(pod.claims)
    mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
    for name in sorted(mounted - volumes):
        yield f"there is no volume {name}"
    for name in sorted(volumes - mounted):
        yield f"nothing mounts the volume {name}"
    for container in pod.containers:
        ports = {port["name"] for port in container.get("ports", [])}
        ports |= {port["containerPort"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for way in ("httpGet", "tcpSocket"):
                port = container.get(probe, {}).get(way, {}).get("port")
                if port is not None and port not in ports:
                    yield f"{probe} asks port {port}, which is not there"


def _ports(pod: Pod) -> set[str | int]:
    ports = [port for container in pod.containers for port in container.get("ports", [])]
    return {port["name"] for port in ports} | {port["containerPort"] for port in ports}


def _chosen(selector: Object, made: list[Pod]) -> list[Pod]:
    return [pod for pod in made if selector.get("matchLabels", {}).items() <= pod.labels.items()]


def _selector_problems(where: str, selector: Object, made: list[Pod]) -> list[str]:
    return [] if _chosen(selector, made) else [f"{where}: selects no pod"]


def _service_problems(where: str, spec: Object, made: list[Pod]) -> list[str]:
    chosen = _chosen({"matchLabels": spec["selector"]}, made)
    if not chosen:
        return [f"{where}: selects no pod"]
    wanted = [port.get("targetPort", port["port"]) for port in spec["ports"]]
    return [f"{where}: {pod.where} has no port {port}" for pod in chosen for port in wanted if port not in _ports(pod)]


def _monitor_problems(where: str, spec: Object, objects: list[Object]) -> list[str]:
    labels = spec["selector"]["matchLabels"].items()
    services = [o for o in objects if o["kind"] == "Service" and labels <= o["metadata"].get("labels", {}).items()]
    if not services:
        return [f"{where}: selects no service"]
    names = {port["name"] for service in services for port in service["spec"]["ports"]}
    return [f"{where}: no service has the port {e['port']}" for e in spec["endpoints"] if e["port"] not in names]
