"""``masd serve``, ``masd agent``, ``masd drift``, ``masd demo``."""

import argparse
from pathlib import Path

from masd.cli.common import REFUSED_OR_DRIFT, names, need
from masd.errors import MasdError
from masd.lifecycle.drift_log import fetched
from masd.lifecycle.object_store import folder_of
from masd.lifecycle.registry import Registry


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="serve models with TorchServe on this machine, in the foreground")
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--registry", metavar="URL", help="serve what is in production there: a folder or s3://bucket/prefix"
    )
    source.add_argument("--bundle", type=Path, nargs="+", action="extend", metavar="BUNDLE")
    serve.add_argument("--host", default="127.0.0.1", help="for requests; others than loopback need --auth static")
    serve.add_argument("--port", type=int, default=8080, help="for requests (default 8080)")
    serve.add_argument("--management-port", type=int, default=8081, help="on loopback (default 8081)")
    serve.add_argument("--metrics-port", type=int, default=8082, help="Prometheus, on loopback (default 8082)")
    serve.add_argument("--grpc-port", type=int, default=7070, help="requests over gRPC, on loopback (default 7070)")
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
    agent.add_argument("--probe-port", type=int, default=8083, help="port of GET /ready (default 8083)")
    _add_following(agent)
    agent.set_defaults(run=_agent)

    _add_drift(commands)

    demo = commands.add_parser("demo", help="everything once, on two simulated machines")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    demo.set_defaults(run=_demo)


def _add_drift(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    drift = commands.add_parser(
        "drift",
        help="compare an inference log with what the model was trained on",
        usage="masd drift --bundle BUNDLE --log LOG --out DIR [--workspace DIR] [--labels FILE]\n"
        "       masd drift --registry URL --machines A,B --log LOG --out DIR [--workspace DIR]\n"
        "       masd drift ui --workspace DIR [--port PORT]",
    )
    drift.add_argument("--bundle", type=Path, metavar="BUNDLE")
    drift.add_argument("--registry", metavar="URL", help="check what is in production there, into --out/<machine>")
    drift.add_argument("--machines", type=names, metavar="A,B", help="of --registry")
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


def _add_following(command: argparse.ArgumentParser) -> None:
    command.add_argument("--poll", type=float, default=10.0, metavar="SECONDS", help="between looks at the registry")
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
        poll_seconds=options.poll,
        log_url=options.log,
        log_folder=_spool(options),
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
        poll_seconds=options.poll,
        log_url=options.log,
        log_folder=_spool(options),
    )
    return 0


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
    versions = {machine: registry.channel(machine, "production") for machine in registry.machines()}
    bundles = [registry.fetch(machine, version) for machine, version in versions.items() if version is not None]
    if not bundles:
        raise MasdError(
            f"{registry.url}: nothing is in production; promote a version with masd registry promote, or use --bundle"
        )
    return bundles


def _drift(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    # checked here, because argparse would ask `masd drift ui` for them too
    if options.log is None or options.out is None:
        command.error("the following arguments are required: --log, --out")
    if (options.bundle is None) == (options.registry is None or options.machines is None):
        command.error("name either --bundle or --registry and --machines")
    if options.labels is not None and options.bundle is None:
        command.error("--labels needs --bundle: a request is one machine's")
    if options.bundle is None:
        monitoring = need("masd.lifecycle.monitoring", "monitoring")
        drifted = monitoring.drifted_machines(
            options.machines, options.log, options.registry, options.out, workspace=options.workspace
        )
        print(f"drift: {', '.join(drifted) or 'none'}\nverdicts: {options.out}/<machine>/verdict.json")
        return REFUSED_OR_DRIFT if drifted else 0
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
