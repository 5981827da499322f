"""Where tasks run: what a cluster must give each of them, and how this machine's cores are shared out."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Place = Callable[..., Any]
"""``place(task, alone=False) -> task``: ``alone`` says that no other task of the run works at that time."""

MOUNT = "/mnt/masd"
"""Where the volume with recordings, inference logs and registry appears in a task on a cluster."""

LOOPS_AT_ONCE = 2
"""Iterations of a loop that ``kfp.local`` runs at the same time: a constant of kfp."""


@dataclass(frozen=True)
class _Size:
    cpu: int
    memory: str
    reads_volume: bool = False


_SIZES = {
    "featurize": _Size(cpu=2, memory="4Gi", reads_volume=True),
    "train": _Size(cpu=4, memory="16Gi"),
    "fit-detectors": _Size(cpu=2, memory="8Gi"),
    "evaluate": _Size(cpu=2, memory="8Gi", reads_volume=True),
    "gate": _Size(cpu=1, memory="4Gi", reads_volume=True),
    "package": _Size(cpu=1, memory="4Gi", reads_volume=True),
    "report": _Size(cpu=1, memory="4Gi"),
    "drift": _Size(cpu=1, memory="4Gi", reads_volume=True),
}


def on_cluster(*, image: str | None = None, volume: str = "masd", gpu: bool = True) -> Place:
    """Requests, limits, retries, volumes and environment of every task on a Kubernetes cluster.

    :param image: image of all tasks; default: what the components were declared with.
    :param volume: the PersistentVolumeClaim mounted at :data:`MOUNT` in the tasks that take paths.
    :param gpu: give the training task one NVIDIA GPU.
    """
    from kfp import kubernetes

    def place(task: Any, *, alone: bool = False) -> Any:
        size = _SIZES[task.component_spec.name]
        if image is not None:
            task.set_container_image(image)
        task.set_cpu_request(str(size.cpu)).set_cpu_limit(str(size.cpu))
        task.set_memory_request(size.memory).set_memory_limit(size.memory)
        # Otherwise torch starts a thread per core of the node, and the limit throttles them.
        task.set_env_variable("OMP_NUM_THREADS", str(size.cpu))
        task.set_env_variable("HOME", "/tmp")  # noqa: S108 - for whatever user the image is run as
        task.set_env_variable("MASD_ACTOR", "pipeline")  # who promotes, in the registry's records
        task.set_retry(2, backoff_duration="30s", backoff_factor=2.0)
        # The cache knows paths, not what is under them: it would answer new recordings with the old model.
        task.set_caching_options(False)
        if size.reads_volume:
            kubernetes.mount_pvc(task, volume, MOUNT)
        if task.component_spec.name == "train":
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="2Gi")  # noqa: S108
            if gpu:
                task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
                kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        return task

    return place


def on_this_machine(machines: int) -> Place:
    """Share the cores among the tasks that run at the same time; a set ``OMP_NUM_THREADS`` is left alone."""
    cores = len(os.sched_getaffinity(0))
    shared = max(1, cores // min(LOOPS_AT_ONCE, machines))

    def place(task: Any, *, alone: bool = False) -> Any:
        if "OMP_NUM_THREADS" not in os.environ:
            task.set_env_variable("OMP_NUM_THREADS", str(cores if alone else shared))
        return task

    return place
