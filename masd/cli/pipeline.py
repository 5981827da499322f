"""``masd pipeline``: run on this machine, or compile for a cluster."""

import argparse
from pathlib import Path

from masd.cli.common import REFUSED_OR_DRIFT, add_settings, names, need, settings_from


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("pipeline", help="run or compile the Kubeflow training pipeline")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    run = actions.add_parser("run", help="run the training pipeline on this machine")
    run.add_argument("--data", required=True, metavar="DATA", help="one folder per machine, in a folder or s3://bucket")
    run.add_argument("--machines", type=names, default=[], help="machine types, separated by commas (default all)")
    run.add_argument("--out", type=Path, required=True, metavar="DIR")
    run.add_argument(
        "--registry", metavar="URL", help="model registry: a folder or s3://bucket/prefix (default DIR/registry)"
    )
    run.add_argument(
        "--runner",
        choices=["subprocess", "docker"],
        default="subprocess",
        help="steps as processes, or as containers of the image MASD_IMAGE on a Docker engine",
    )
    add_settings(run)
    run.set_defaults(run=_run)

    compile_ = actions.add_parser("compile", help="write the pipelines' YAML for a cluster")
    compile_.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_settings(compile_)
    compile_.set_defaults(run=_compile)


def _run(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    run_training = need("pipelines.run", "pipelines").run_training
    result = run_training(
        options.data, options.machines, settings, options.out, registry=options.registry, runner=options.runner
    )
    for verdict in result.verdicts:
        print(verdict.sentence)
    print(f"report: {result.report}\nregistry: {result.registry}")
    return REFUSED_OR_DRIFT if any(verdict.refused for verdict in result.verdicts) else 0


def _compile(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    for path in need("pipelines.compile", "pipelines").compile_pipelines(options.out, settings):
        print(path)
    return 0
