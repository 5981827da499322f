"""``masd serve`` and ``masd agent``."""

import argparse
from pathlib import Path
from typing import Any

from masd.cli.common import need
from masd.cli.numbers import port, seconds
from masd.errors import MasdError
from masd.registry.registry import Registry
from masd.storage.opening import folder_of


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="serve models with TorchServe on this machine, in the foreground")
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--registry", metavar="URL", help="serve what is in production there: a folder or s3://bucket/prefix"
    )
    source.add_argument("--bundle", type=Path, nargs="+", action="extend", metavar="BUNDLE")
    serve.add_argument("--host", default="127.0.0.1", help="for requests; others than loopback need --auth static")
    serve.add_argument("--port", type=port, default=8080, help="for requests (default 8080)")
    serve.add_argument("--management-port", type=port, default=8081, help="on loopback (default 8081)")
    serve.add_argument("--metrics-port", type=port, default=8082, help="Prometheus, on loopback (default 8082)")
    serve.add_argument(
        "--grpc-port", type=port, help="requests over gRPC, on loopback (default 7070, or any where that is taken)"
    )
    serve.add_argument(
        "--auth",
        choices=("none", "static", "token"),
        default="none",
        help="static: one token, from MASD_TOKEN or the file in MASD_TOKEN_FILE; token: TorchServe's own keys",
    )
    _add_following(serve)
    serve.set_defaults(run=_serve)

    agent = commands.add_parser("agent", help="keep a TorchServe that already runs at the versions in production")
    agent.add_argument("--registry", required=True, metavar="URL", help="follow what is in production there")
    agent.add_argument("--model-store", type=Path, required=True, metavar="DIR", help="TorchServe's model store")
    agent.add_argument("--management-url", default="http://127.0.0.1:8081", metavar="URL")
    agent.add_argument("--inference-url", default="http://127.0.0.1:8080", metavar="URL")
    agent.add_argument("--probe-host", default="127.0.0.1", help="address of GET /ready")
    agent.add_argument("--probe-port", type=port, default=8083, help="port of GET /ready (default 8083)")
    _add_following(agent)
    agent.set_defaults(run=_agent)


def _add_following(command: argparse.ArgumentParser) -> None:
    command.add_argument("--poll", type=seconds, default=10.0, metavar="SECONDS", help="between looks at the registry")
    command.add_argument("--log", metavar="URL", help="keep the inference log there: a folder or s3://bucket/prefix")
    command.add_argument(
        "--log-spool", type=Path, metavar="DIR", help="where records wait on this machine (default: spool in --log)"
    )


def _serve(options: argparse.Namespace) -> int:
    serve = need("serving.server", "serving").serve
    registry = Registry.open(options.registry) if options.registry else None
    serve(
        options.bundle if registry is None else _in_production(registry),
        host=options.host,
        port=options.port,
        management_port=options.management_port,
        metrics_port=options.metrics_port,
        grpc_port=options.grpc_port,
        auth=options.auth,
        registry=registry,
        **_following(options),
    )
    return 0


def _agent(options: argparse.Namespace) -> int:
    need("serving.sidecar", "serving").run_agent(
        Registry.open(options.registry),
        options.model_store,
        management_url=options.management_url,
        inference_url=options.inference_url,
        probe_host=options.probe_host,
        probe_port=options.probe_port,
        **_following(options),
    )
    return 0


def _following(options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`_add_following` has asked for, as the server and the agent take it."""
    return {"poll_seconds": options.poll, "log_url": options.log, "log_folder": _spool(options)}


def _spool(options: argparse.Namespace) -> Path | None:
    """Where the workers write: the folder of the log itself has room for it, a bucket has not."""
    if options.log_spool is not None and options.log is None:
        raise MasdError("--log-spool needs --log, the place to which records are brought from there")
    if options.log is None:
        return None
    if options.log_spool is not None:
        return Path(options.log_spool)
    if options.log.startswith("s3://"):
        raise MasdError(
            f"--log {options.log} needs --log-spool DIR: a folder where records wait until the bucket has them"
        )
    return folder_of(options.log) / "spool"


def _in_production(registry: Registry) -> list[Path]:
    bundles = [registry.fetch(machine, version) for machine, version in registry.in_production().items()]
    if not bundles:
        raise MasdError(
            f"{registry.url}: nothing is in production; promote a version with masd registry promote, or use --bundle"
        )
    return bundles
