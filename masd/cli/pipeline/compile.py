"""``masd pipeline compile``."""

import argparse
from pathlib import Path

from masd.cli.common import add_settings, needs, settings_from


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compile_ = actions.add_parser("compile", help="write the pipelines' YAML for a cluster")
    compile_.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the YAML files")
    add_settings(compile_)
    compile_.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with needs("pipelines"):
        from pipelines.compile import compile_pipelines

    for path in compile_pipelines(options.out, settings_from(options)):
        print(path)
    return 0
