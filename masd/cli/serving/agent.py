"""``masd agent``."""

import argparse
from pathlib import Path

from masd.cli.common import needs
from masd.cli.numbers import port
from masd.cli.serving.following import add_following, ended_by_sigterm, following
from masd.registry.registry import Registry


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    agent = commands.add_parser("agent", help="make a running TorchServe serve the versions in production")
    agent.add_argument("--registry", required=True, metavar="URL", help="serve the versions in production there")
    agent.add_argument("--model-store", type=Path, required=True, metavar="DIR", help="TorchServe's model store")
    agent.add_argument(
        "--management-url",
        default="http://127.0.0.1:8081",
        metavar="URL",
        help="TorchServe's management API (default http://127.0.0.1:8081)",
    )
    agent.add_argument(
        "--inference-url",
        default="http://127.0.0.1:8080",
        metavar="URL",
        help="TorchServe's inference API (default http://127.0.0.1:8080)",
    )
    agent.add_argument(
        "--key-file", type=Path, metavar="FILE", help="TorchServe's keys (key_file.json), if it requires them"
    )
    agent.add_argument("--probe-host", default="127.0.0.1", help="address of GET /ready (default 127.0.0.1)")
    agent.add_argument("--probe-port", type=port, default=8083, help="port of GET /ready (default 8083)")
    add_following(agent)
    agent.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with ended_by_sigterm():
        with needs("serving"):
            from serving.agent.sidecar import run_agent

        run_agent(
            Registry.open(options.registry),
            options.model_store,
            management_url=options.management_url,
            inference_url=options.inference_url,
            key_file=options.key_file,
            probe_host=options.probe_host,
            probe_port=options.probe_port,
            **following(options),
        )
    return 0
