"""Entry point: parse, run, turn errors into one line and an exit code.

Exit codes: 0 done; 1 the work failed, with one line that says what to do; 2 usage; 3 the gate refused a model, drift
was found, or a machine is in alarm.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from masd.cli import alarms, drift, log, pipeline, registry
from masd.cli.common import WORK_FAILED, needs
from masd.cli.model import archive, benchmark, evaluate, score, train
from masd.cli.recordings import data, dataset, simulate
from masd.cli.serving import agent, board, serve
from masd.errors import MasdError, one_line

COMMANDS = (
    simulate,
    data,
    dataset,
    train,
    evaluate,
    score,
    benchmark,
    pipeline,
    registry,
    archive,
    serve,
    agent,
    drift,
    log,
    alarms,
    board,
)
"""The commands, in the order of the help. Each is a file, or a package with a file per action."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="masd", description="Machine anomalous sound detection: train, gate, ship, serve and monitor models."
    )
    top.add_argument("-v", "--verbose", action="store_true", help="also log normal progress, to standard error")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_command(commands)
    demo = commands.add_parser("demo", help="run the whole chain once, on two simulated machines")
    demo.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="folder for all files (default demo)"
    )
    demo.set_defaults(run=_demo)
    return top


def _demo(options: argparse.Namespace) -> int:
    with needs("pipelines,serving,monitoring"):
        from masd.cli.demo import demo

    demo(options.out)
    return 0


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
        print(f"masd: {one_line(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("masd: interrupted", file=sys.stderr)
    except BrokenPipeError:  # the reader of our output has gone, as in `masd score ... | head`
        sys.stderr.close()
    except OSError as error:  # a full disk, a folder that may not be written: the system's own words name the file
        print(f"masd: {error}", file=sys.stderr)
    return WORK_FAILED


if __name__ == "__main__":
    sys.exit(main())
