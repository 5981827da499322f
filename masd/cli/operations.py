"""``masd serve``, ``masd drift``, ``masd demo``."""

import argparse
from pathlib import Path

from masd.cli.common import REFUSED_OR_DRIFT, local_folder, need
from masd.errors import MasdError
from masd.lifecycle.drift_log import fetched
from masd.lifecycle.registry import Registry


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="serve models with TorchServe on this machine, in the foreground")
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument("--registry", metavar="URL", help="serve what is in production there")
    source.add_argument("--bundle", type=Path, nargs="+", action="extend", metavar="BUNDLE")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; only loopback, requests are not authenticated",
    )
    serve.add_argument("--port", type=int, default=8080)
    serve.add_argument("--management-port", type=int, default=8081)
    serve.add_argument("--metrics-port", type=int, default=8082)
    serve.add_argument("--log", type=Path, metavar="DIR", help="write the inference log there")
    serve.set_defaults(run=_serve)

    _add_drift(commands)

    demo = commands.add_parser("demo", help="everything once, on two simulated machines")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    demo.set_defaults(run=_demo)


def _add_drift(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    drift = commands.add_parser(
        "drift",
        help="compare an inference log with what the model was trained on",
        usage="masd drift --bundle BUNDLE --log LOG --out DIR [--workspace DIR] [--labels FILE]\n"
        "       masd drift ui --workspace DIR [--port PORT]",
    )
    drift.add_argument("--bundle", type=Path, metavar="BUNDLE")
    drift.add_argument("--log", metavar="LOG", help="inference log: a file, a folder or s3://bucket/prefix")
    drift.add_argument("--out", type=Path, metavar="DIR")
    drift.add_argument("--workspace", type=Path, metavar="DIR", help="add the check to the history kept there")
    drift.add_argument(
        "--labels", type=Path, metavar="FILE", help="request_id and label (normal, anomaly): CSV, JSONL or Parquet"
    )
    drift.set_defaults(run=lambda options: _drift(drift, options))

    ui = drift.add_subparsers(metavar="ui", prog="masd drift").add_parser(
        "ui", help="show the history of checks in a browser"
    )
    ui.add_argument("--workspace", type=Path, required=True, metavar="DIR")
    ui.add_argument("--port", type=int, default=8000, help="on 127.0.0.1 (default 8000)")
    ui.set_defaults(run=_drift_ui)


def _serve(options: argparse.Namespace) -> int:
    serve = need("serving.server", "serving").serve
    serve(
        options.bundle or _in_production(local_folder(options.registry)),
        host=options.host,
        port=options.port,
        management_port=options.management_port,
        metrics_port=options.metrics_port,
        log_folder=options.log,
    )
    return 0


def _in_production(root: Path) -> list[Path]:
    registry = Registry(root)
    versions = {machine: registry.channel(machine, "production") for machine in registry.machines()}
    bundles = [registry.path(machine, version) for machine, version in versions.items() if version is not None]
    if not bundles:
        raise MasdError(
            f"{root}: nothing is in production; promote a version with masd registry promote, or use --bundle"
        )
    return bundles


def _drift(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    needed = {"--bundle": options.bundle, "--log": options.log, "--out": options.out}
    if missing := ", ".join(name for name, value in needed.items() if value is None):
        command.error(f"the following arguments are required: {missing}")  # as argparse does, but not for `drift ui`
    drift = need("masd.lifecycle.drift", "monitoring")
    with fetched(options.log) as log:
        verdict = drift.check_drift(
            options.bundle, log, options.out, workspace=options.workspace, labels=options.labels
        )
    print(verdict.sentence)
    for name, clips in verdict.unusual.items():
        print(f"  {name}: {'; '.join(map(str, clips[:3]))}")
    if verdict.not_compared:
        print(f"not compared, missing in the log or the reference: {', '.join(verdict.not_compared)}")
    if verdict.live is not None:
        print(verdict.live.describe())
    print(f"verdict: {options.out / 'verdict.json'}")
    return REFUSED_OR_DRIFT if verdict.verdict == "drift" else 0


def _drift_ui(options: argparse.Namespace) -> int:
    need("masd.lifecycle.drift_evidently", "monitoring").serve_workspace(options.workspace, options.port)
    return 0


def _demo(options: argparse.Namespace) -> int:
    need("masd.cli.demo", "pipelines,serving,monitoring").demo(options.out)
    return 0
