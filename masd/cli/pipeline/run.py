"""``masd pipeline run``."""

import argparse

from masd.cli.pipeline.options import add_once, add_places, add_runner, run_here


def add_command(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = actions.add_parser("run", help="run the training pipeline on this computer")
    add_places(run, data=True, out=True)
    add_once(run, "these recordings")
    add_runner(run)
    run.set_defaults(run=run_here, pipeline="training")
