"""``masd log prune``."""

import argparse
from dataclasses import asdict

from masd.cli.numbers import count
from masd.files import json_text


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prune = actions.add_parser("prune", help="remove records that are older than --days days")
    prune.add_argument("--log", required=True, metavar="LOG", help="a folder or s3://bucket/prefix")
    prune.add_argument("--days", type=count, required=True, metavar="N", help="keep the last N days")
    prune.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")
    prune.add_argument("--json", action="store_true", help="one JSON object")
    prune.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.drift.retention import prune_log
    from masd.storage.opening import open_store

    pruned = prune_log(open_store(options.log), options.days, dry_run=options.dry_run)
    if options.json:
        print(json_text(asdict(pruned)))
        return 0
    done = "would be removed" if options.dry_run else "removed"
    print(f"{options.log}: {pruned.objects} files ({pruned.size} bytes) in {len(pruned.days)} day folders {done}")
    return 0
