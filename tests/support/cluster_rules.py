"""What only a cluster would show, as rules over the manifests; as in manifests.py, no problem: the rule holds."""

from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import urlsplit

from manifests import LONG_RUNNING, Object, Pod, name_of, pods

ZONE = "topology.kubernetes.io/zone"
BUCKET_SECRET = "masd-s3"
METADATA = {"0.0.0.0/0": {"169.254.0.0/16"}, "::/0": {"fe80::/10", "fd00:ec2::/32", "fd20:ce::/32"}}
"""Any address of a family, and in it those of nodes' metadata services, which hand out the nodes' rights."""
DNS_PORTS = {(port, protocol) for port in (53, 5353) for protocol in ("UDP", "TCP")}


def spread_problems(objects: list[Object]) -> list[str]:
    """A spread that may keep pods out counts the zones it wants: with one zone there, all pods would go to that."""
    return [
        f"{pod.where}: is kept out by {rule['topologyKey']}, but asks for no number of them"
        for pod in pods(objects)
        for rule in pod.spec.get("topologySpreadConstraints", [])
        if rule["whenUnsatisfiable"] == "DoNotSchedule" and "minDomains" not in rule
    ]


def needs_zones(objects: list[Object]) -> list[str]:
    """Pods that a cluster without zone labels would leave Pending."""
    return [
        pod.where
        for pod in pods(objects)
        for rule in pod.spec.get("topologySpreadConstraints", [])
        if rule["topologyKey"] == ZONE and rule["whenUnsatisfiable"] == "DoNotSchedule"
    ]


def one_shot_problems(objects: list[Object]) -> list[str]:
    """Objects that are made to run once: `kubectl apply` would change a running one, whose fields are immutable."""
    return [f"{name_of(item)}: is applied again and again" for item in objects if item["kind"] in ("Job", "TrainJob")]


def network_problems(objects: list[Object]) -> list[str]:
    """Every pod reaches DNS, and every one that holds the bucket's secret the bucket, and no metadata service."""
    endpoint = next(o for o in objects if name_of(o).startswith("ConfigMap/masd-"))["data"]["MASD_S3_ENDPOINT"]
    problems = []
    for pod in pods(objects):
        rules = list(_egress(pod, objects))
        dns = {_port(port) for rule in rules if _is_dns(rule) for port in rule["ports"]}
        if missing := DNS_PORTS - dns:
            problems.append(f"{pod.where}: does not reach DNS at {sorted(missing)}")
        if _has_bucket(pod, objects):
            problems += [f"{pod.where}: {problem}" for problem in _bucket_problems(rules, endpoint, objects)]
        for rule in rules:
            for block in (to["ipBlock"] for to in rule["to"] if "ipBlock" in to):
                if METADATA.get(block["cidr"], set()) - set(block.get("except", [])):
                    problems.append(f"{pod.where}: reaches metadata services in {block['cidr']}")
    return problems


def _egress(pod: Pod, objects: list[Object]) -> Iterator[Object]:
    for item in objects:
        if item["kind"] == "NetworkPolicy":
            chosen = item["spec"]["podSelector"].get("matchLabels", {})
            if chosen.items() <= pod.labels.items():
                yield from item["spec"].get("egress", [])


def _is_dns(rule: Object) -> bool:
    return any("kube-system" in str(to.get("namespaceSelector")) for to in rule["to"])


def _port(port: Object) -> tuple[int, str]:
    return port["port"], port["protocol"]


def _has_bucket(pod: Pod, objects: list[Object]) -> bool:
    own = [source.get("secretRef", {}).get("name") for box in pod.containers for source in box.get("envFrom", [])]
    account = f"ServiceAccount/{pod.spec['serviceAccountName']}"
    given = [secret["name"] for item in objects if name_of(item) == account for secret in item.get("secrets", [])]
    return BUCKET_SECRET in own + given


def _bucket_problems(rules: list[Object], endpoint: str, objects: list[Object]) -> Iterator[str]:
    """The pod's way to the endpoint, and where that is a service of ours, also the service's pods' way to let it in."""
    url = urlsplit(endpoint)
    port = url.port or {"https": 443, "http": 80}[url.scheme]
    open_to = [to for rule in rules if (port, "TCP") in map(_port, rule["ports"]) for to in rule["to"]]
    service = next((o for o in objects if name_of(o) == f"Service/{url.hostname}"), None)
    if service is None:
        for family in METADATA:
            if not any(to.get("ipBlock", {}).get("cidr") == family for to in open_to):
                yield f"does not reach {endpoint} over {family}"
    elif {"podSelector": {"matchLabels": service["spec"]["selector"]}} not in open_to:
        yield f"does not reach {endpoint}"


def requested(objects: list[Object], resource: str) -> Decimal:
    """All that can be asked for at a time: a pod of each job, the most replicas, and one more while they roll over."""
    most = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"]["maxReplicas"] + 1
        for item in objects
        if item["kind"] == "HorizontalPodAutoscaler"
    }
    return sum(
        (
            _quantity(box["resources"]["requests"][resource])
            * (most.get(pod.where.partition("/")[2], 1) if pod.kind in LONG_RUNNING else 1)
            for pod in pods(objects)
            for box in pod.containers
        ),
        Decimal(0),
    )


def _quantity(text: str) -> Decimal:
    units = {"m": Decimal("0.001"), "Mi": Decimal(2**20), "Gi": Decimal(2**30)}
    unit = next((unit for unit in units if text.endswith(unit)), "")
    return Decimal(text.removesuffix(unit)) * units.get(unit, 1)


def storage_problems(container: Object, secret: Object) -> list[str]:
    """KServe's storage initializer is let in by level "restricted", fetches from S3, and is told where that is."""
    box, problems = container["spec"]["container"], []
    security = box.get("securityContext", {})
    if box["name"] != "storage-initializer":
        problems.append("KServe does not know the container by this name")
    if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities") != {"drop": ["ALL"]}:
        problems.append("may gain privileges")
    if security.get("runAsNonRoot") is not True or security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        problems.append("is not restricted")
    if container["spec"]["supportedUriFormats"] != [{"prefix": "s3://"}]:
        problems.append("is not the one for S3")
    annotations = secret["metadata"].get("annotations", {})
    for key in ("s3-endpoint", "s3-usehttps", "s3-region"):
        if f"serving.kserve.io/{key}" not in annotations:
            problems.append(f"the secret has no annotation {key}")
    if "://" in annotations.get("serving.kserve.io/s3-endpoint", ""):
        problems.append("KServe puts a scheme before the endpoint itself")
    return problems
