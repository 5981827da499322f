"""``masd pipeline submit``."""

import argparse

from masd.cli.common import REFUSED_OR_DRIFT, needs, settings_from
from masd.cli.pipeline.options import add_cluster, add_places, cluster_of
from masd.progress import print_line


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    submit = actions.add_parser("submit", help="run a pipeline on a cluster")
    submit.add_argument(
        "pipeline",
        choices=["training", "monitoring"],
        nargs="?",
        default="training",
        help="the pipeline to run (default training)",
    )
    add_places(submit)
    submit.add_argument(
        "--log", metavar="LOG", help="for monitoring: the inference log, at the address that the tasks use"
    )
    add_cluster(submit, required=True)
    submit.add_argument("--wait", action="store_true", help="wait until the run has ended, then print its verdicts")
    submit.add_argument("--timeout", default="1d", metavar="TIME", help="longest time to wait (default 1d)")
    submit.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with needs("pipelines"):
        from pipelines.cluster.submit import EXPERIMENT, follow, require, upload
        from pipelines.schedule import seconds

    timeout_s = seconds(options.timeout)
    cluster, arguments = cluster_of(options)
    ids, name = upload(cluster, options.pipeline, settings_from(options), print_line)
    run_id = cluster.start(ids, name, EXPERIMENT, arguments)
    print(f"run: {run_id}\npage: {cluster.page(run_id)}", flush=True)
    if not options.wait:
        return 0
    found = follow(cluster, run_id, options.machines, options.registry, print_line, timeout_s=timeout_s)
    if found is None:
        print("The verdicts are in the audit trail of the run's registry. To print them here, give --registry.")
        return 0
    if options.pipeline == "training":
        require(found, options.machines, options.registry, run_id)
    if not found:
        print(
            "nothing was trained: the log of the drift task says which machines have drifted, and why none was trained"
        )
    for record in found:
        print(f"{record['event']} {record['machine_type']} {record['version']}: {record['reason']}")
    return REFUSED_OR_DRIFT if any(record["event"] == "refuse" for record in found) else 0
