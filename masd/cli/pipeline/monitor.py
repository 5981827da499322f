"""``masd pipeline monitor``."""

import argparse

from masd.cli.pipeline.options import add_once, add_places, add_runner, run_here


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    monitor = actions.add_parser(
        "monitor", help="check for drift on this computer, and retrain the machines that have drifted"
    )
    add_places(monitor, data=True, out=True, registry=True)
    monitor.add_argument(
        "--log", required=True, metavar="LOG", help="inference log: a file, a folder or s3://bucket/prefix"
    )
    add_once(monitor, "this window of the log and these recordings")
    add_runner(monitor)
    monitor.set_defaults(run=run_here, pipeline="monitoring")
