"""``masd data``: check or import recordings."""

import argparse
import sys
from pathlib import Path

from masd.cli.common import WORK_FAILED
from masd.cli.numbers import finite, seconds
from masd.cli.recordings import data_check
from masd.progress import ConsoleProgress

MOST_NAMED = 5
"""Files that are left out are named up to this number."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("data", help="check recordings, or import those of acquisition systems")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    data_check.add_action(actions)
    command = actions.add_parser(
        "import",
        help="TDMS, UFF58, MATLAB, CSV and sound files with several channels, as clips to train on",
        description="Write every channel of the recordings as WAV of 32-bit floats, in its unit and at its rate. With "
        "one channel per file the clips are in FOLDER/train, else in FOLDER/<channel>/train; recordings.json beside it "
        "describes each clip. See docs/recordings/import.md.",
    )
    command.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="a file, or a folder and all below it")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder, or an empty one")
    command.add_argument("--rate", type=finite, metavar="HZ", help="sample rate of the files that state none")
    command.add_argument("--seconds", type=seconds, help="cut longer recordings into clips of this length")
    command.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> int:
    from masd.data.importing.run import import_recordings

    with ConsoleProgress("import") as progress:
        done = import_recordings(
            options.sources, options.out, rate=options.rate, seconds=options.seconds, progress=progress
        )
    for channel, clips in done.channels.items():
        print(f"{channel}: {clips} clips")
    for stated, hertz in done.snapped.items():
        print(f"rate: the file states {stated:.6g} Hz, a rounded value of {hertz} Hz; the clips have {hertz} Hz")
    if done.left_over_s:
        print(f"dropped: {done.left_over_s:.1f} s at the ends of recordings, too short for a clip")
    for folder in done.folders:
        print(folder)
    if done.ignored:
        names = ", ".join(path.name for path in done.ignored[:MOST_NAMED])
        more = f" and {len(done.ignored) - MOST_NAMED} more" if len(done.ignored) > MOST_NAMED else ""
        print(f"masd: {len(done.ignored)} files of other formats are left out: {names}{more}", file=sys.stderr)
    for line in done.failed:
        print(f"masd: {line}", file=sys.stderr)
    if done.failed:
        print(f"masd: {len(done.failed)} files could not be imported", file=sys.stderr)
    return WORK_FAILED if done.failed else 0
