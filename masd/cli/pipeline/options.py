"""Options that several commands of ``masd pipeline`` share, and the objects made from them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masd.cli.common import add_settings, names, needs, settings_from
from masd.errors import MasdError

if TYPE_CHECKING:
    from pipelines.cluster.client import KubeflowClient
    from pipelines.jobs import PipelineJob


def add_places(
    command: argparse.ArgumentParser, *, data: bool = False, out: bool = False, registry: bool = False
) -> None:
    command.add_argument(
        "--data", required=data, metavar="DATA", help="one folder per machine, in a folder or s3://bucket"
    )
    command.add_argument("--machines", type=names, default=[], help="machine types, separated by commas (default all)")
    command.add_argument(
        "--out", type=Path, required=out, metavar="DIR", help="folder for the results of runs on this computer"
    )
    default = "" if registry else " (default DIR/registry here, /mnt/masd/registry on a cluster)"
    command.add_argument(
        "--registry", required=registry, metavar="URL", help=f"a folder or s3://bucket/prefix{default}"
    )
    add_settings(command)


def add_once(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--once", action="store_true", help=f"do nothing if a run for {what} is in progress or is done"
    )


def add_runner(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--runner",
        choices=["subprocess", "docker"],
        default="subprocess",
        help="run steps as processes, or as containers of the image MASD_IMAGE on a Docker engine",
    )


def add_cluster(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument(
        "--endpoint",
        required=required,
        metavar="URL",
        help="URL of Kubeflow Pipelines; the token comes from MASD_KFP_TOKEN or the file in MASD_KFP_TOKEN_FILE",
    )
    command.add_argument(
        "--namespace", metavar="NAME", help="Kubeflow profile of the run, on a cluster with several users"
    )


def run_here(options: argparse.Namespace) -> int:
    """Run the pipeline of the options on this computer; returns the command's exit code."""
    job = job_of(options)
    if not options.once:
        code, said = job.run()
        print(said)
        return code
    from pipelines.jobs import describe

    outcome = job.once()
    print(describe(outcome))
    return outcome.record.code or 0


def job_of(options: argparse.Namespace) -> "PipelineJob":
    """The pipeline with its arguments.

    :raises MasdError: the extra is not installed, or settings that cannot be used.
    """
    with needs("pipelines"):
        from pipelines.jobs import PipelineJob

    return PipelineJob(
        options.data,
        options.machines,
        settings_from(options),
        options.out,
        options.registry or str(options.out / "registry"),
        options.log if options.pipeline == "monitoring" else None,
        options.runner,
    )


def cluster_of(options: argparse.Namespace) -> "tuple[KubeflowClient, dict[str, Any]]":
    """A client of the cluster, and the arguments of a run there.

    :raises MasdError: no machines are named, or the extra is not installed.
    """
    with needs("pipelines"):
        from pipelines.cluster.client import KubeflowClient
        from pipelines.cluster.submit import arguments_of

    if not options.machines:
        raise MasdError("a run on a cluster needs --machines: masd cannot list the recordings of the cluster")
    cluster = KubeflowClient(options.endpoint, namespace=options.namespace)
    places = {"data": options.data, "registry": options.registry, "log": options.log}
    return cluster, arguments_of(options.machines, **places)
