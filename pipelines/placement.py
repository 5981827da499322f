"""The resources of every task on a cluster, and how tasks share the cores of this computer."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Place = Callable[..., Any]
"""``place(task, alone=False) -> task``: ``alone`` says that no other task of the run works at that time."""

MOUNT = "/mnt/masd"
"""The mount point of the volume with recordings, inference logs and registry in a task on a cluster."""

LOOPS_AT_ONCE = 2
"""Iterations of a loop that ``kfp.local`` runs at the same time: a constant of kfp."""


@dataclass(frozen=True)
class _Size:
    cpu: int
    memory: str
    hours: int
    reads_volume: bool = False
    uses_bucket: bool = False
    cached: bool = False


_SIZES = {
    "fingerprint": _Size(cpu=1, memory="1Gi", hours=2, reads_volume=True, uses_bucket=True),
    "featurize": _Size(cpu=2, memory="4Gi", hours=2, reads_volume=True, uses_bucket=True, cached=True),
    "train": _Size(cpu=4, memory="16Gi", hours=24, cached=True),
    "fit-detectors": _Size(cpu=2, memory="8Gi", hours=2, cached=True),
    "controls": _Size(cpu=2, memory="8Gi", hours=2, cached=True),
    "evaluate": _Size(cpu=2, memory="8Gi", hours=2, reads_volume=True, uses_bucket=True, cached=True),
    "gate": _Size(cpu=1, memory="4Gi", hours=2, reads_volume=True, uses_bucket=True),
    "package": _Size(cpu=1, memory="4Gi", hours=1, reads_volume=True, uses_bucket=True),
    "report": _Size(cpu=1, memory="4Gi", hours=1),
    "alarms": _Size(cpu=1, memory="4Gi", hours=2, reads_volume=True, uses_bucket=True),
    "drift": _Size(cpu=1, memory="4Gi", hours=2, reads_volume=True, uses_bucket=True),
}
"""``hours`` is the time limit of a task, many times its usual duration. ``cached`` is for steps whose outputs depend
only on the image and the step's parameters, including the recordings' fingerprint, and that have no other effects:
docs/measured/scaling.md has the reason for each.
"""

TRIES = 3
WAITING_HOURS = 24
"""Hours that all tries of a task together may wait for a node: the back-end counts from the start of the first try."""

DISRUPTION = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Annotations that keep autoscalers from removing the node of a task: a pod lost with its node is not retried."""

BUCKET_SECRET = "masd-s3"  # noqa: S105 - its name
BUCKET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "MASD_S3_ENDPOINT")
"""Keys of the secret, each the environment variable of the same name."""

ALARMS_SECRET = "masd-alarms"  # noqa: S105 - its name
ALARMS_VARIABLES = ("MASD_WEBHOOK_URL", "MASD_WEBHOOK_SECRET", "MASD_ALERTMANAGER_URL")
"""Keys of the secret that names the recipients of alarms."""


def by_digest(image: str) -> bool:
    """Whether the name of an image identifies its content in a cache key: a tag can be moved to another image."""
    return "@sha256:" in image


def on_cluster(*, image: str | None = None, volume: str = "masd", gpu: bool = True) -> Place:
    """Requests, limits, retries, timeout, labels, annotations, volumes and environment of every task on a cluster.

    Only the cached steps of :data:`_SIZES`, and only of an image that is named by digest, use Kubeflow's cache.

    The secret :data:`BUCKET_SECRET` of the runs' namespace, if there, gives the tasks that use a bucket their access;
    :data:`ALARMS_SECRET`, if there, names the recipients of alarms.

    :param image: image of all tasks; default: what the components were declared with.
    :param volume: the PersistentVolumeClaim mounted at :data:`MOUNT` in the tasks that take paths.
    :param gpu: give the training task one NVIDIA GPU.
    """
    from kfp import kubernetes

    def place(task: Any, *, alone: bool = False) -> Any:
        task_name = task.component_spec.name
        size = _SIZES[task_name]
        if image is not None:
            task.set_container_image(image)
        task.set_cpu_request(str(size.cpu)).set_cpu_limit(str(size.cpu))
        task.set_memory_request(size.memory).set_memory_limit(size.memory)
        # Otherwise torch starts a thread per core of the node, and the limit throttles them.
        task.set_env_variable("OMP_NUM_THREADS", str(size.cpu))
        task.set_env_variable("HOME", "/tmp")  # noqa: S108 - for whatever user the image is run as
        task.set_env_variable("MASD_ACTOR", "pipeline")  # who promotes, in the registry's records
        # kfp's own maximum is an hour: no try would start after it, and a running one would be ended then.
        task.set_retry(
            TRIES - 1,
            backoff_duration="30s",
            backoff_factor=2.0,
            backoff_max_duration=f"{TRIES * size.hours + WAITING_HOURS}h",
        )
        if not (size.cached and by_digest(task.container_spec.image)):
            task.set_caching_options(False)  # the others keep kfp's default, which its own variable turns off
        kubernetes.set_timeout(task, size.hours * 3600)
        kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "masd")
        kubernetes.add_pod_label(task, "app.kubernetes.io/component", task_name)
        for annotation, value in DISRUPTION.items():
            kubernetes.add_pod_annotation(task, annotation, value)
        if size.uses_bucket:  # not there where registry, log and recordings are on the volume
            keys = {name: name for name in BUCKET_VARIABLES}
            kubernetes.use_secret_as_env(task, BUCKET_SECRET, keys, optional=True)
        if task_name == "alarms":  # not there where the events log is enough
            kubernetes.use_secret_as_env(task, ALARMS_SECRET, {name: name for name in ALARMS_VARIABLES}, optional=True)
        if size.reads_volume:
            kubernetes.mount_pvc(task, volume, MOUNT)
        if task_name == "train":
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="2Gi")  # noqa: S108
            if gpu:
                task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
                kubernetes.add_node_selector(task, "nvidia.com/gpu.present", "true")
                kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        return task

    return place


def on_this_machine(machines: int) -> Place:
    """Share the cores among the tasks that run at the same time; if ``OMP_NUM_THREADS`` is set, it is not changed."""
    cores = len(os.sched_getaffinity(0))
    shared = max(1, cores // min(LOOPS_AT_ONCE, machines))

    def place(task: Any, *, alone: bool = False) -> Any:
        if "OMP_NUM_THREADS" not in os.environ:
            task.set_env_variable("OMP_NUM_THREADS", str(cores if alone else shared))
        return task

    return place
