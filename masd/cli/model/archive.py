"""``masd archive``."""

import argparse
from pathlib import Path

from masd.cli.common import needs


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    archive = commands.add_parser("archive", help="make a TorchServe archive of a bundle")
    archive.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle folder")
    archive.add_argument("--out", type=Path, required=True, metavar="FILE.mar", help="archive to write")
    archive.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with needs("serving"):
        from serving.archive import archive

    print(archive(options.bundle, options.out))
    return 0
