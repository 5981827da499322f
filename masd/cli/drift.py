"""``masd drift``."""

import argparse
from pathlib import Path

from masd.cli.common import REFUSED_OR_DRIFT, names, needs
from masd.cli.numbers import port, time_since


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    drift = commands.add_parser(
        "drift",
        help="compare the clips in an inference log with the training clips",
        usage="masd drift --bundle BUNDLE --log LOG --out DIR [--since WHEN] [--workspace DIR] [--labels FILE]\n"
        "       masd drift --registry URL --machines A,B --log LOG --out DIR [--since WHEN] [--workspace DIR]\n"
        "       masd drift ui --workspace DIR [--port PORT]",
    )
    drift.add_argument("--bundle", type=Path, metavar="BUNDLE", help="bundle whose training clips are the reference")
    drift.add_argument(
        "--registry", metavar="URL", help="check the versions in production there; results go to --out/<machine>"
    )
    drift.add_argument("--machines", type=names, metavar="A,B", help="machines to check, with --registry")
    drift.add_argument("--log", metavar="LOG", help="inference log: a file, a folder or s3://bucket/prefix")
    drift.add_argument(
        "--since",
        type=time_since,
        metavar="WHEN",
        help="only clips since a time (ISO 8601, UTC), or of the last 90m, 24h, 7d (default: newest drift.window)",
    )
    drift.add_argument("--out", type=Path, metavar="DIR", help="folder for the verdict and the report")
    drift.add_argument("--workspace", type=Path, metavar="DIR", help="also add the check to the history in this folder")
    drift.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="labels of clips: columns request_id and label, as CSV, JSONL or Parquet",
    )
    drift.set_defaults(run=lambda options: _drift(drift, options))

    ui = drift.add_subparsers(metavar="ui", prog="masd drift").add_parser(
        "ui", help="show the history of checks in a browser"
    )
    ui.add_argument("--workspace", type=Path, required=True, metavar="DIR", help="the folder of masd drift --workspace")
    ui.add_argument("--port", type=port, default=8000, help="port on 127.0.0.1 (default 8000)")
    ui.set_defaults(run=_drift_ui)


def _drift(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    # checked here, because argparse would ask `masd drift ui` for them too
    if options.log is None or options.out is None:
        command.error("the following arguments are required: --log, --out")
    if (options.bundle is None) == (options.registry is None or options.machines is None):
        command.error("name either --bundle or --registry and --machines")
    if options.labels is not None and options.bundle is None:
        command.error("--labels needs --bundle: labels are checked for one machine at a time")
    if options.bundle is None:
        with needs("monitoring"):
            from masd.lifecycle.monitoring import drifted_machines

        drifted = drifted_machines(
            options.machines,
            options.log,
            options.registry,
            options.out,
            workspace=options.workspace,
            since=options.since or "",
        )
        print(f"drift: {', '.join(drifted) or 'none'}\nverdicts: {options.out}/<machine>/verdict.json")
        return REFUSED_OR_DRIFT if drifted else 0
    with needs("monitoring"):
        from masd.drift.check import check_drift

    verdict = check_drift(
        options.bundle,
        options.log,
        options.out,
        workspace=options.workspace,
        labels=options.labels,
        since=options.since or "",
    )
    print(verdict.sentence)
    for name, clips in verdict.unusual.items():
        print(f"  {name}: {'; '.join(map(str, clips[:3]))}")
    if verdict.not_compared:
        missing = ", ".join(verdict.not_compared)
        print(f"columns that were not compared, because the log or the reference does not have them: {missing}")
    if verdict.live is not None:
        print(verdict.live.describe())
    print(f"verdict: {options.out / 'verdict.json'}")
    return REFUSED_OR_DRIFT if verdict.verdict == "drift" else 0


def _drift_ui(options: argparse.Namespace) -> int:
    with needs("monitoring"):
        from masd.drift.evidently_report import serve_workspace

    serve_workspace(options.workspace, options.port)
    return 0
