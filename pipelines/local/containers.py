"""Tasks of a local run as containers of a Docker engine: ``masd pipeline run --runner docker``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masd.errors import MasdError

if TYPE_CHECKING:
    from docker import DockerClient

RUN_LABEL = "masd.steps"
"""Label of a run's containers; its value is the folder the steps write to."""

PASSED_ON = (
    *("OMP_NUM_THREADS", "MASD_ACTOR", "MASD_S3_ENDPOINT"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
)
"""Variables of this process that the tasks get too."""


def check_engine(image: str) -> None:
    """Check before a run that an engine answers and has the image or can pull it.

    :raises MasdError: what is missing, and what to do.
    """
    client = _client()
    from docker.errors import DockerException, ImageNotFound

    try:
        try:
            client.images.get(image)
        except ImageNotFound:
            client.images.pull(image)
    except DockerException as error:
        raise MasdError(
            f"image {image}: is not on the Docker engine and cannot be pulled; build it with make images, or name "
            "another in MASD_IMAGE"
        ) from error
    finally:
        client.close()


def run_arguments(arguments: Mapping[str, Any], steps: Path) -> dict[str, Any]:
    """The options with which ``kfp.local`` starts the containers of a run, as keywords of ``docker.containers.create``.

    They see the recordings and the log read-only, the registry and the steps' own folder, each under its path on this
    computer, and no other files. They run as the calling user, who then owns their files.

    :param arguments: of the pipeline; ``data``, ``log`` and ``registry`` may be paths or URLs.
    :param steps: the folder of :func:`pipelines.local.process.working_folder`.
    """
    from docker.types import DeviceRequest, Mount

    mounts = []
    for name in ("data", "log", "registry"):
        path = str(arguments.get(name, ""))
        if path.startswith("/"):
            mounts.append(Mount(target=path, source=path, type="bind", read_only=name != "registry"))
    client = _client()
    try:
        has_gpus = "nvidia" in client.info().get("Runtimes", {})
    finally:
        client.close()
    return {
        "mounts": mounts,
        "user": f"{os.getuid()}:{os.getgid()}",
        "environment": {"HOME": "/tmp", **{name: os.environ[name] for name in PASSED_ON if name in os.environ}},  # noqa: S108
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "shm_size": "2g",
        "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])] if has_gpus else [],
        "labels": {RUN_LABEL: str(steps)},
    }


def run_container(
    client: "DockerClient", image: str, command: list[str], volumes: dict[str, Any], **arguments: Any
) -> int:
    """Run a container to its end, forward its output, and return its exit status. This replaces
    ``kfp.local.docker_task_handler.run_docker_container``, which lets the engine remove the container as soon as it
    ends, and treats a container that it no longer finds as successful.
    """
    container = client.containers.create(image, command, volumes=volumes, **arguments)
    try:
        container.start()
        rest = b""
        for chunk in container.logs(stream=True, follow=True):
            *lines, rest = (rest + chunk).split(b"\n")  # whole lines: tasks write side by side
            for line in lines:
                print(line.decode(errors="replace"), flush=True)
        if rest:
            print(rest.decode(errors="replace"), flush=True)
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def remove_containers(steps: Path) -> None:
    """Stop the containers of a run that was stopped: they are children of the engine, not of this process."""
    client = _client()
    try:
        for container in client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={steps}"}):
            container.remove(force=True)
    finally:
        client.close()


def _client() -> "DockerClient":
    try:
        import docker
    except ImportError as error:
        raise MasdError("--runner docker needs Docker's client library: pip install 'masd[pipelines]'") from error
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise MasdError(f"no Docker engine answers at {where}: start one, or name another in DOCKER_HOST") from error
    return client
