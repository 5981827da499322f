"""Simulate how long the training of a fleet takes on a cluster, from the times per step of a local run.

``python -m bench.makespan RUN/pipeline.log --machines 1000 --gpus 8`` prints the makespan and what it costs in
GPU and CPU hours; ``docs/measured/scaling.md`` says how to read it.
"""

import argparse
import heapq
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from components.step import StepLine
from masd.errors import MasdError
from masd.progress import MARK

CHAIN = ("fingerprint", "featurize", "train", "fit_detectors", "controls", "evaluate", "gate", "package")
"""The steps of one machine type, in order, with ``training.scope`` machine; train is the one that uses a GPU."""


@dataclass(frozen=True)
class Cluster:
    """What tasks can have at the same time.

    :param gpus: GPUs for training; 0: training takes a CPU slot like the other steps.
    :param per_gpu: trainings that share one GPU.
    :param cpu_slots: tasks without a GPU at a time.
    :param at_once: machine types in work at a time: the width of the loop.
    :param overhead_s: of every task before its first line: scheduling, starting a pod, imports.
    """

    gpus: int = 8
    per_gpu: int = 1
    cpu_slots: int = 64
    at_once: int = 1000
    overhead_s: float = 30.0


@dataclass(frozen=True)
class Makespan:
    """``seconds`` from the first task's start to the last one's end; the hours during which GPUs and slots work."""

    seconds: float
    gpu_hours: float
    cpu_slot_hours: float


def step_seconds(log: Path) -> dict[str, float]:
    """The mean time of each step of :data:`CHAIN` in the log of a local run.

    :raises MasdError: no log, or one in which a step never ended well.
    """
    found = defaultdict(list)
    try:
        text = log.read_text(encoding="utf-8")
    except OSError as error:
        raise MasdError(f"{log}: {error.strerror}; give the pipeline.log of a run") from error
    for raw in text.splitlines():
        line = StepLine.read(raw.partition(MARK)[2])
        if line is not None and line.seconds is not None:
            found[line.step].append(line.seconds)
    if missing := [name for name in CHAIN if name not in found]:
        raise MasdError(f"{log}: no step {', '.join(missing)} has ended there; give the log of a run that ended well")
    return {name: fmean(found[name]) for name in CHAIN}


def simulate(machines: int, seconds: Mapping[str, float], cluster: Cluster) -> Makespan:
    """Work through every machine's steps: whoever waits longest gets the next free slot, ties by machine.

    :param seconds: per step of :data:`CHAIN`; for train at the sharing of ``cluster.per_gpu``.
    """
    with_gpu = {"train"} if cluster.gpus else set()
    free = {True: cluster.gpus * cluster.per_gpu, False: cluster.cpu_slots}
    waiting: dict[bool, list[tuple[float, int, int]]] = {True: [], False: []}  # since when, machine, step
    running: list[tuple[float, int, int]] = []  # until when, machine, step
    busy = {True: 0.0, False: 0.0}
    now = 0.0
    unstarted = iter(range(machines))

    def enqueue(machine: int, step: int) -> None:
        heapq.heappush(waiting[CHAIN[step] in with_gpu], (now, machine, step))

    for _, machine in zip(range(cluster.at_once), unstarted, strict=False):
        enqueue(machine, 0)
    while running or any(waiting.values()):
        for gpu, queue in waiting.items():
            while queue and free[gpu]:
                _, machine, step = heapq.heappop(queue)
                length = seconds[CHAIN[step]] + cluster.overhead_s
                free[gpu] -= 1
                busy[gpu] += length
                heapq.heappush(running, (now + length, machine, step))
        now, machine, step = heapq.heappop(running)
        free[CHAIN[step] in with_gpu] += 1
        if step + 1 < len(CHAIN):
            enqueue(machine, step + 1)
        elif (following := next(unstarted, None)) is not None:
            enqueue(following, 0)
    return Makespan(now, busy[True] / max(cluster.per_gpu, 1) / 3600, busy[False] / 3600)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.makespan", description="How long a fleet's training takes.")
    parser.add_argument("log", type=Path, help="pipeline.log of a run on this machine")
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=Cluster.gpus, help="0: trainings take CPU slots")
    parser.add_argument("--per-gpu", type=int, default=Cluster.per_gpu, help="trainings that share one GPU")
    parser.add_argument("--cpu-slots", type=int, default=Cluster.cpu_slots, help="tasks without a GPU at a time")
    parser.add_argument("--at-once", type=int, default=Cluster.at_once, help="machine types in work at a time")
    parser.add_argument("--overhead", type=float, default=Cluster.overhead_s, help="seconds a task needs to start")
    parser.add_argument("--train", type=float, help="seconds of a training there, where it is not as fast as here")
    options = parser.parse_args(arguments)
    try:
        seconds = step_seconds(options.log)
    except MasdError as error:
        print(f"masd: {error}", file=sys.stderr)
        return 1
    if options.train is not None:
        seconds["train"] = options.train
    cluster = Cluster(options.gpus, options.per_gpu, options.cpu_slots, options.at_once, options.overhead)
    result = simulate(options.machines, seconds, cluster)
    print("  ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    print(
        f"{options.machines} machine types: {result.seconds / 3600:.2f} h, "
        f"{result.gpu_hours:.1f} GPU hours, {result.cpu_slot_hours:.1f} CPU slot hours"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
