"""``masd registry calibrate``."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from masd.alarms.commissioning.doubts import DOUBTS
from masd.cli.common import names, needs
from masd.cli.numbers import rate
from masd.cli.registry.options import Actions


def add_command(actions: Actions) -> None:
    what = "make a new version whose threshold comes from clips scored in production"
    command = actions.add("calibrate", what, as_json=True)
    command.add_argument("--log", required=True, metavar="LOG", help="a file, a folder or s3://bucket/prefix")
    command.add_argument(
        "--false-alarms", type=rate, required=True, metavar="1/N", help="allow one false alarm in N normal clips"
    )
    command.add_argument("--since", default="", metavar="TIME", help="start of the window (ISO 8601, UTC)")
    command.add_argument("--until", default="", metavar="TIME", help="end of the window")
    command.add_argument("--leave-out", type=names, default=[], metavar="ID,ID", help="request ids of faulty clips")
    command.add_argument(
        "--despite",
        type=names,
        default=[],
        metavar="DOUBT,DOUBT",
        help=f"accept the window although it has these doubts ({', '.join(DOUBTS)}), because you have checked it; "
        "silent clips and clips of alarms are left out",
    )
    command.set_defaults(run=lambda options: _run(command, options))


def _run(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from masd.lifecycle.calibrating import calibrate

    if unknown := sorted(set(options.despite) - set(DOUBTS)):
        command.error(f"argument --despite: {', '.join(unknown)}: expected some of {', '.join(DOUBTS)}")
    with needs("serving"):
        from serving.archive import archive

    def add_archive(folder: Path, version: str) -> None:
        archive(folder, folder / f"{options.machine}.mar")

    version, found = calibrate(
        options.registry,
        options.machine,
        options.log,
        options.false_alarms,
        since=options.since,
        until=options.until,
        leave_out=options.leave_out,
        despite=options.despite,
        build=add_archive,
    )
    if options.json:
        about = {name: value for name, value in asdict(found).items() if name != "scores"}
        print(json.dumps({"version": version, **about}))
        return 0
    domains = ", ".join(f"{len(scores)} {domain or 'of no domain'}" for domain, scores in found.scores.items())
    print(f"{options.machine}: version {version} is the candidate, calibrated with {found.clips} clips ({domains})")
    print(f"  window: {found.since} to {found.until}; {found.left_out} clips left out")
    alike = f"; {found.block} clips in a row are alike and count as one clip" if found.block > 1 else ""
    rate_kept = f"at most 1 in {1 / found.promised:,.0f} normal clips is above it (95 % confidence)"
    print(f"  threshold {found.threshold:.4g}: {rate_kept}{alike}")
    if found.promised > found.asked:
        print(
            f"  a threshold for 1 in {1 / found.asked:,.0f} needs {found.needed:,} clips; masd alarms keeps this rate "
            "with fewer"
        )
    print(f"  listen to the clips with the highest scores: {', '.join(found.highest) or 'no request ids'}")
    print(f"  next: masd registry promote {options.machine} {version} --registry {options.registry} --reason ...")
    return 0
