"""``masd pipeline schedule``: run a pipeline on a schedule, on this computer or on a cluster."""

import argparse

from masd.cli.common import needs, settings_from
from masd.cli.pipeline.options import add_cluster, add_places, add_runner, cluster_of, job_of
from masd.errors import MasdError
from masd.progress import print_line


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    schedule = actions.add_parser("schedule", help="run a pipeline on a schedule, on this computer or on a cluster")
    schedule.add_argument("pipeline", choices=["training", "monitoring"], help="the pipeline to run")
    add_places(schedule)
    schedule.add_argument("--log", metavar="LOG", help="for monitoring: the inference log")
    when = schedule.add_mutually_exclusive_group(required=True)
    when.add_argument(
        "--cron", metavar="EXPRESSION", help="cron expression of five fields, in UTC, such as '*/30 * * * *'"
    )
    when.add_argument("--every", metavar="TIME", help="time between runs: 90s, 30m, 6h or 1d")
    when.add_argument("--watch", action="store_true", help="train when recordings below --data are added or changed")
    add_runner(schedule)
    add_cluster(schedule, required=False)
    schedule.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.pipeline == "monitoring" and options.watch:
        raise MasdError("--watch starts trainings only; for monitoring give --cron or --every")
    if options.endpoint:
        return _on_cluster(options)
    for name in ("data", "out", *(["log", "registry"] if options.pipeline == "monitoring" else [])):
        if getattr(options, name) is None:
            raise MasdError(f"a schedule for {options.pipeline} on this computer needs --{name}")
    with needs("pipelines"):
        from pipelines.jobs import describe
        from pipelines.schedule import Cron, Every, keep, watch

    job = job_of(options)
    if options.watch:
        watch(job.glance, lambda: print(describe(job.once()), flush=True), print_line)
        return 0
    timetable = Cron(options.cron) if options.cron else Every(options.every)
    keep(timetable, lambda slot: print(describe(job.once_for(timetable.text, slot)), flush=True), print_line)
    return 0


def _on_cluster(options: argparse.Namespace) -> int:
    with needs("pipelines"):
        from pipelines.cluster.submit import EXPERIMENT, upload
        from pipelines.schedule import Cron, seconds

    if options.watch:
        raise MasdError("--watch works only on this computer, without --endpoint; for a cluster give --cron or --every")
    cron = Cron(options.cron).text if options.cron else None
    every = seconds(options.every) if options.every else None
    cluster, arguments = cluster_of(options)
    ids, _ = upload(cluster, options.pipeline, settings_from(options), print_line)
    name = f"masd {options.pipeline}: {', '.join(options.machines)}"
    recurring = cluster.schedule(ids, name, EXPERIMENT, arguments, cron=cron, every_s=every)
    print(f"recurring run: {recurring} ({name})")
    return 0
