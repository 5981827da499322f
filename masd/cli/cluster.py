"""``masd pipeline submit`` and ``masd pipeline schedule --endpoint``: what runs on a cluster."""

import argparse
from typing import Any

from masd.cli.common import REFUSED_OR_DRIFT, need, settings_from
from masd.errors import MasdError


def schedule(options: argparse.Namespace) -> int:
    rooms, times = need("pipelines.cluster.submit", "pipelines"), need("pipelines.schedule", "pipelines")
    if options.watch:
        raise MasdError("a cluster has no --watch; give --cron or --every, or run masd pipeline schedule --watch here")
    cron = times.Cron(options.cron).text if options.cron else None
    every = times.seconds(options.every) if options.every else None
    cluster, arguments, say = _cluster(options)
    ids, _ = rooms.upload(cluster, options.pipeline, settings_from(options), say)
    name = f"masd {options.pipeline}: {', '.join(options.machines)}"
    recurring = cluster.schedule(ids, name, rooms.EXPERIMENT, arguments, cron=cron, every_s=every)
    print(f"recurring run: {recurring} ({name})")
    return 0


def submit(options: argparse.Namespace) -> int:
    rooms, timeout = need("pipelines.cluster.submit", "pipelines"), need("pipelines.schedule", "pipelines").seconds
    timeout_s = timeout(options.timeout)
    cluster, arguments, say = _cluster(options)
    ids, name = rooms.upload(cluster, options.pipeline, settings_from(options), say)
    run_id = cluster.start(ids, name, rooms.EXPERIMENT, arguments)
    print(f"run: {run_id}\npage: {cluster.page(run_id)}", flush=True)
    if not options.wait:
        return 0
    found = rooms.follow(cluster, run_id, options.machines, options.registry, say, timeout_s=timeout_s)
    if found is None:
        print("verdicts: in the audit trail of the run's registry; name one that can be read from here by --registry")
        return 0
    if options.pipeline == "training":
        rooms.require(found, options.machines, options.registry, run_id)
    if not found:
        print("nothing was trained: the drift task's log and reports say what has drifted, and if it was held back")
    for record in found:
        print(f"{record['event']} {record['machine_type']} {record['version']}: {record['reason']}")
    return REFUSED_OR_DRIFT if any(record["event"] == "refuse" for record in found) else 0


def _cluster(options: argparse.Namespace) -> tuple[Any, dict[str, Any], Any]:
    if not options.machines:
        raise MasdError("a run on a cluster needs --machines: the recordings cannot be listed from here")
    cluster = need("pipelines.cluster.client", "pipelines").Cluster(options.endpoint, namespace=options.namespace)
    places = {"data": options.data, "registry": options.registry, "log": options.log}
    arguments = need("pipelines.cluster.submit", "pipelines").arguments_of(options.machines, **places)
    return cluster, arguments, need("pipelines.local.process", "pipelines").say_on_stderr
