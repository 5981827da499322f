"""``masd pipeline``: run on this machine, once or on a schedule; compile for a cluster, or submit to one."""

import argparse
from pathlib import Path
from typing import Any

from masd.cli import cluster
from masd.cli.common import add_settings, names, need, settings_from
from masd.errors import MasdError


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("pipeline", help="run, schedule, compile or submit the Kubeflow pipelines")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    run = actions.add_parser("run", help="run the training pipeline on this machine")
    _add_places(run, data=True, out=True)
    _add_once(run, "these recordings")
    _add_runner(run)
    run.set_defaults(run=_run, pipeline="training")

    monitor = actions.add_parser("monitor", help="look for drift on this machine, and retrain what has drifted")
    _add_places(monitor, data=True, out=True, registry=True)
    monitor.add_argument("--log", required=True, metavar="LOG", help="a file or folder of the inference log")
    _add_once(monitor, "this window of the log and these recordings")
    _add_runner(monitor)
    monitor.set_defaults(run=_run, pipeline="monitoring")

    schedule = actions.add_parser("schedule", help="run a pipeline again and again, here or on a cluster")
    schedule.add_argument("pipeline", choices=["training", "monitoring"])
    _add_places(schedule)
    schedule.add_argument("--log", metavar="LOG", help="for monitoring: the inference log")
    when = schedule.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar="EXPRESSION", help="five fields, in UTC, as '*/30 * * * *'")
    when.add_argument("--every", metavar="TIME", help="90s, 30m, 6h or 1d")
    when.add_argument("--watch", action="store_true", help="train when recordings below --data have come or changed")
    _add_runner(schedule)
    _add_cluster(schedule, required=False)
    schedule.set_defaults(run=_schedule)

    submit = actions.add_parser("submit", help="run a pipeline on a cluster")
    submit.add_argument("pipeline", choices=["training", "monitoring"], nargs="?", default="training")
    _add_places(submit)
    submit.add_argument("--log", metavar="LOG", help="for monitoring: the inference log, as its tasks see it")
    _add_cluster(submit, required=True)
    submit.add_argument("--wait", action="store_true", help="until the run has ended, then tell its verdicts")
    submit.add_argument("--timeout", default="1d", metavar="TIME", help="how long to wait (default 1d)")
    submit.set_defaults(run=cluster.submit)

    compile_ = actions.add_parser("compile", help="write the pipelines' YAML for a cluster")
    compile_.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_settings(compile_)
    compile_.set_defaults(run=_compile)


def _add_places(
    command: argparse.ArgumentParser, *, data: bool = False, out: bool = False, registry: bool = False
) -> None:
    command.add_argument(
        "--data", required=data, metavar="DATA", help="one folder per machine, in a folder or s3://bucket"
    )
    command.add_argument("--machines", type=names, default=[], help="machine types, separated by commas (default all)")
    command.add_argument("--out", type=Path, required=out, metavar="DIR", help="results of runs on this machine")
    default = "" if registry else " (default DIR/registry)"
    command.add_argument(
        "--registry", required=registry, metavar="URL", help=f"a folder or s3://bucket/prefix{default}"
    )
    add_settings(command)


def _add_once(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--once", action="store_true", help=f"do nothing if a run for {what} has been started")


def _add_runner(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--runner",
        choices=["subprocess", "docker"],
        default="subprocess",
        help="steps as processes, or as containers of the image MASD_IMAGE on a Docker engine",
    )


def _add_cluster(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument(
        "--endpoint",
        required=required,
        metavar="URL",
        help="Kubeflow Pipelines; its token is taken from MASD_KFP_TOKEN or the file that MASD_KFP_TOKEN_FILE names",
    )
    command.add_argument("--namespace", metavar="NAME", help="profile, on a cluster with several users")


def _run(options: argparse.Namespace) -> int:
    jobs = need("pipelines.jobs", "pipelines")
    job = _job(options)
    if not options.once:
        code, said = job.run()
        print(said)
        return int(code)
    outcome = job.once()
    print(jobs.told(outcome))
    return int(outcome.record.code or 0)


def _schedule(options: argparse.Namespace) -> int:
    if options.pipeline == "monitoring" and options.watch:
        raise MasdError("--watch waits for recordings to train on; give monitoring a --cron or --every")
    if options.endpoint:
        return cluster.schedule(options)
    for name in ("data", "out", *(["log", "registry"] if options.pipeline == "monitoring" else [])):
        if getattr(options, name) is None:
            raise MasdError(f"a schedule for {options.pipeline} on this machine needs --{name}")
    schedule, jobs = need("pipelines.schedule", "pipelines"), need("pipelines.jobs", "pipelines")
    say = need("pipelines.local.process", "pipelines").say_on_stderr
    job = _job(options)
    if options.watch:
        schedule.watch(job.glance, lambda: print(jobs.told(job.once()), flush=True), say)
        return 0
    timetable = schedule.Cron(options.cron) if options.cron else schedule.Every(options.every)
    schedule.keep(timetable, lambda slot: print(jobs.told(job.once_for(timetable.text, slot)), flush=True), say)
    return 0


def _job(options: argparse.Namespace) -> Any:
    return need("pipelines.jobs", "pipelines").Job(
        options.data,
        options.machines,
        settings_from(options),
        options.out,
        options.registry or str(options.out / "registry"),
        options.log if options.pipeline == "monitoring" else None,
        options.runner,
    )


def _compile(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    for path in need("pipelines.compile", "pipelines").compile_pipelines(options.out, settings):
        print(path)
    return 0
