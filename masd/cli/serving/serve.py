"""``masd serve``."""

import argparse
from pathlib import Path

from masd.cli.common import needs
from masd.cli.numbers import port, seconds
from masd.cli.serving.following import add_following, ended_by_sigterm, following
from masd.registry.registry import Registry


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="serve models with TorchServe on this computer, in the foreground")
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--registry", metavar="URL", help="serve the versions in production there: a folder or s3://bucket/prefix"
    )
    source.add_argument(
        "--bundle", type=Path, nargs="+", action="extend", metavar="BUNDLE", help="serve these bundle folders"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address for requests; any but loopback needs --auth static")
    serve.add_argument("--port", type=port, default=8080, help="port for requests (default 8080)")
    serve.add_argument(
        "--management-port",
        type=port,
        default=8081,
        help="port of TorchServe's management API, on loopback (default 8081)",
    )
    serve.add_argument(
        "--metrics-port", type=port, default=8082, help="port of Prometheus metrics, on loopback (default 8082)"
    )
    serve.add_argument(
        "--grpc-port",
        type=port,
        help="port for gRPC requests, on loopback (default 7070, or a free one if that is taken)",
    )
    serve.add_argument(
        "--auth",
        choices=("none", "static", "token"),
        default="none",
        help="static: one token, from MASD_TOKEN or the file in MASD_TOKEN_FILE; token: TorchServe's own keys",
    )
    serve.add_argument(
        "--startup-seconds",
        type=seconds,
        metavar="SECONDS",
        help="longest start: until the first model is served (default 120, and 30 for each other machine, at most 540)",
    )
    serve.add_argument(
        "--drain-seconds",
        type=seconds,
        default=3.0,
        metavar="SECONDS",
        help="longest wait at the end for requests that are being answered (default 3)",
    )
    add_following(serve)
    serve.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with ended_by_sigterm():
        with needs("serving"):
            from serving.server import serve

        serve(
            options.bundle or [],
            host=options.host,
            port=options.port,
            management_port=options.management_port,
            metrics_port=options.metrics_port,
            grpc_port=options.grpc_port,
            auth=options.auth,
            registry=Registry.open(options.registry) if options.registry else None,
            startup_seconds=options.startup_seconds,
            drain_seconds=options.drain_seconds,
            **following(options),
        )
    return 0
