"""``masd serve``, ``masd drift``, ``masd demo``."""

import argparse
from pathlib import Path

from masd.cli.common import REFUSED_OR_DRIFT, need
from masd.errors import MasdError
from masd.lifecycle.registry import Registry


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="serve models with TorchServe on this machine, in the foreground")
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--registry", metavar="URL", help="serve what is in production there: a folder or s3://bucket/prefix"
    )
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

    drift = commands.add_parser("drift", help="compare an inference log with what the model was trained on")
    drift.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    drift.add_argument("--log", type=Path, required=True, metavar="LOG", help="a file or folder of the inference log")
    drift.add_argument("--out", type=Path, required=True, metavar="DIR")
    drift.set_defaults(run=_drift)

    demo = commands.add_parser("demo", help="everything once, on two simulated machines")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    demo.set_defaults(run=_demo)


def _serve(options: argparse.Namespace) -> int:
    serve = need("serving.server", "serving").serve
    serve(
        options.bundle or _in_production(options.registry),
        host=options.host,
        port=options.port,
        management_port=options.management_port,
        metrics_port=options.metrics_port,
        log_folder=options.log,
    )
    return 0


def _in_production(url: str) -> list[Path]:
    registry = Registry.open(url)
    versions = {machine: registry.channel(machine, "production") for machine in registry.machines()}
    bundles = [registry.fetch(machine, version) for machine, version in versions.items() if version is not None]
    if not bundles:
        raise MasdError(
            f"{url}: nothing is in production; promote a version with masd registry promote, or use --bundle"
        )
    return bundles


def _drift(options: argparse.Namespace) -> int:
    verdict = need("masd.lifecycle.drift", "monitoring").check_drift(options.bundle, options.log, options.out)
    print(f"{verdict.sentence}\nverdict: {options.out / 'verdict.json'}")
    return REFUSED_OR_DRIFT if verdict.verdict == "drift" else 0


def _demo(options: argparse.Namespace) -> int:
    need("masd.cli.demo", "pipelines,serving,monitoring").demo(options.out)
    return 0
