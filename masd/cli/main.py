"""Entry point: parse, run, turn errors into one line and an exit code.

Exit codes: 0 done; 1 the work failed, with one line that says what to do; 2 usage; 3 the gate refused or drift was
found.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from masd.cli import benchmark, data, dataset, lifecycle, model, operations, pipeline
from masd.cli.common import WORK_FAILED
from masd.errors import MasdError


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="masd", description="Machine anomalous sound detection: train, gate, ship, serve and watch."
    )
    top.add_argument("-v", "--verbose", action="store_true", help="also log what goes well, to standard error")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in (data, dataset, model, benchmark, pipeline, lifecycle, operations):
        room.add_commands(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = options.run(options)
        return code
    except MasdError as error:
        print(f"masd: {' '.join(str(error).split())}", file=sys.stderr)
    except KeyboardInterrupt:
        print("masd: interrupted", file=sys.stderr)
    except BrokenPipeError:  # the reader of our output has gone, as in `masd score ... | head`
        sys.stderr.close()
    except OSError as error:  # a full disk, a folder that may not be written: the system's own words name the file
        print(f"masd: {error}", file=sys.stderr)
    return WORK_FAILED


if __name__ == "__main__":
    sys.exit(main())
