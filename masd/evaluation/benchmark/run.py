"""Run a benchmark: several cells at the same time, each once, with results written as they come."""

import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from masd.arrays import Floats
from masd.config import Settings
from masd.data.folders.machine import MachineData, read_machine
from masd.data.store import FeatureStore, build_store
from masd.errors import MasdError
from masd.evaluation.benchmark.cells import (
    CONTROLS_PART,
    DEFAULT_PART,
    UNTRAINED_PART,
    UNTRAINED_STEPS,
    Cell,
    parts,
    run_cell,
)
from masd.evaluation.benchmark.page import BenchmarkAbout, BenchmarkScores, write_benchmark
from masd.files import sha256, write_text
from masd.progress import ConsoleProgress

LIBRARIES = ("masd", "torch", "scikit-learn", "numpy")
CONTROLS_COST = 2.5e-3
"""Training the controls on one frame takes about as long as this many steps of the network."""


@dataclass(frozen=True)
class CellTask:
    """A cell with the settings it runs under and its share of the work, in training steps of the network."""

    cell: Cell
    settings: Settings
    work: float


def run_benchmark(
    data: Path, machines: Sequence[str], seeds: Sequence[int], settings: Settings, out: Path, command: str
) -> Path:
    """Train and score every cell that is not finished below ``out``, then write its tables and page.

    :raises MasdError: no labelled test clips, or ``out`` holds a benchmark of other data or settings.
    """
    if settings.training.scope == "fleet":
        raise MasdError("the benchmark trains one network per machine, as the paper does; remove training.scope=fleet")
    clips = {machine: _labelled_clips(data / machine, settings) for machine in machines}
    stores = _features(clips, settings, out)
    tasks = [
        _task(machine, part, seed, store, settings, out)
        for machine, store in stores.items()
        for seed in seeds
        for part in parts(settings)
    ]
    started = time.monotonic()
    _run(tasks, out)
    about = BenchmarkAbout(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="minutes"),
        machines=list(machines),
        seeds=list(seeds),
        schedule=_schedule(settings),
        versions={name: version(name) for name in LIBRARIES},
        notes=[
            _clips(stores),
            f"Training and scoring took {(time.monotonic() - started) / 60:.0f} min in this run.",
        ],
    )
    write_benchmark([_scores(machine, store, tasks) for machine, store in stores.items()], out, about)
    return out / "benchmark.html"


def _labelled_clips(folder: Path, settings: Settings) -> MachineData:
    clips = read_machine(folder, settings.data)
    clips.check_enough()
    conditions = {clip.condition for clip in clips.split("test")}
    if not {"normal", "anomaly"} <= conditions:
        raise MasdError(f"{folder / 'test'}: a benchmark needs labelled normal and anomalous test clips")
    return clips


def _features(clips: dict[str, MachineData], settings: Settings, out: Path) -> dict[str, FeatureStore]:
    """The log-mel store of each machine.

    ``benchmark.json`` has the fingerprint of their inputs, so that results of two benchmarks are never mixed; machines
    may be added.
    """
    note = out / "benchmark.json"
    about = settings.model_dump(mode="json", exclude={"seed", "gate", "serving", "drift"})
    fingerprint = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    own = {machine: _fingerprint(found) for machine, found in clips.items()}
    known: dict[str, str] = {}
    if note.exists():
        try:
            before: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
            made_with, known = before["settings"], before["machines"]
            changed = [machine for machine in own if known.get(machine, own[machine]) != own[machine]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MasdError(f"{note}: was not written by a benchmark; choose another --out") from error
        if made_with != fingerprint or changed:
            raise MasdError(f"{out}: contains a benchmark of other data or settings; choose another --out")
    for machine, found in clips.items():
        if machine in known:
            continue
        with ConsoleProgress(f"featurize {machine}") as progress:
            build_store(found, settings, out / "features" / machine, progress=progress)
        known[machine] = own[machine]
        write_text(note, json.dumps({"settings": fingerprint, "machines": known}, indent=2) + "\n")
    return {machine: FeatureStore.open(out / "features" / machine) for machine in clips}


def _fingerprint(clips: MachineData) -> str:
    """Of the recordings and of all that is known of them; test clips count too, unlike in a store's fingerprint."""
    digest = hashlib.sha256()
    for clip in clips.clips:
        about = (clip.split, clip.name, clip.section, clip.domain, clip.condition, clip.kind, clip.attributes)
        digest.update(json.dumps([*about, sha256(clip.path)]).encode())
    return digest.hexdigest()


def _task(machine: str, part: str, seed: int, store: FeatureStore, settings: Settings, out: Path) -> CellTask:
    cell = Cell(
        machine=machine,
        part=part,
        seed=seed,
        features=out / "features" / machine,
        network=out / "networks" / machine / f"{part}-seed{seed}",
        result=out / "cells" / machine / f"{part}-seed{seed}.parquet",
    )
    frames = int(store.clips["n_frames"].iloc[store.normal_rows()].sum())
    steps = {DEFAULT_PART: 1, UNTRAINED_PART: UNTRAINED_STEPS, CONTROLS_PART: frames * CONTROLS_COST}
    return CellTask(cell, settings, steps.get(part, sum(settings.training.stages)))


def _run(tasks: Sequence[CellTask], out: Path) -> None:
    """The unfinished cells, largest first, one a processor (one in all on a GPU)."""
    open_tasks = sorted((task for task in tasks if not task.cell.result.exists()), key=lambda task: -task.work)
    if not open_tasks:
        return
    workers = 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, len(open_tasks))
    context = multiprocessing.get_context("spawn")
    manager = SyncManager(ctx=context)
    manager.start(_end_with_parent)
    with manager, ConsoleProgress(f"benchmark {out.name}") as progress:
        news = manager.Queue()
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(workers,))
        try:
            futures = {pool.submit(_work, task, news): task for task in open_tasks}
            for text in _watch(futures, news):
                finished = len(tasks) - len(open_tasks) + sum(future.done() for future in futures)
                progress(finished, len(tasks), text)
        except BrokenProcessPool as error:
            raise MasdError(
                f"{out}: a process of the benchmark was killed, perhaps for lack of memory; run the same command "
                "again: it continues where it stopped"
            ) from error
        except BaseException:
            for process in list((pool._processes or {}).values()):  # there is no other way to stop a training
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _watch(futures: "dict[Future[None], CellTask]", news: Any) -> Iterator[str]:
    """The progress of each cell, with the remaining time; ends when all are done, and raises the error of a cell."""
    started, shares = time.monotonic(), dict.fromkeys((task.cell.name for task in futures.values()), 0.0)
    work = {task.cell.name: task.work for task in futures.values()}
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=1.0)
        for future in done:
            future.result()
            shares[futures[future].cell.name] = 1.0
        text = ""
        while True:
            try:
                name, share, text = news.get_nowait()
            except Empty:
                break
            shares[name] = max(shares[name], share)
        so_far = sum(work[name] * share for name, share in shares.items()) / sum(work.values())
        if text or done:
            elapsed = time.monotonic() - started
            left = f"{elapsed * (1 - so_far) / so_far / 60:.0f} min left" if so_far > 0.001 else ""
            yield ", ".join(filter(None, (left, text)))


def _end_with_parent() -> None:
    """End this process when its parent is killed: otherwise the next run would train the same cell at the same time."""
    parent = multiprocessing.parent_process()

    def wait_for_its_end() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


def _start_worker(workers: int) -> None:
    _end_with_parent()
    if workers > 1:  # more threads than processors would only wait for one another
        torch.set_num_threads(1)
        threadpool_limits(1)


def _work(task: CellTask, news: Any) -> None:
    last = 0.0

    def tell(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last > 1.0 or done == total:
            last = time.monotonic()
            news.put((task.cell.name, done / total, f"{task.cell.name}: {done}/{total}"))

    run_cell(task.cell, task.settings, tell)


def _scores(machine: str, store: FeatureStore, tasks: Sequence[CellTask]) -> BenchmarkScores:
    rows = store.rows(split="test")
    clips = store.clips.iloc[rows][["name", "section", "domain", "condition"]].reset_index(drop=True)
    scores: dict[tuple[str, int], Floats] = {}
    for cell in (task.cell for task in tasks if task.cell.machine == machine):
        frame = pd.read_parquet(cell.result).set_index("name").loc[clips["name"]]
        scores |= {(method, cell.seed): frame[method].to_numpy() for method in frame.columns}
    return BenchmarkScores(machine, clips, scores)


def _schedule(settings: Settings) -> str:
    first, second = settings.training.stages
    return (
        f"{first} steps with L_recon alone, {second} with all losses of the method; "
        f"the method default is {settings.detection.system}"
        + (" on the network of all three losses." if settings.detection.needs_network else ", which needs no network.")
    )


def _clips(stores: dict[str, FeatureStore]) -> str:
    parts = []
    for machine, store in stores.items():
        clips = store.clips
        noisy = clips[(clips["split"] == "train") & (clips["kind"] == "noisy")]
        target = int((noisy["domain"] == "target").sum())
        seconds = float(noisy["duration_s"].median())
        test = int((clips["split"] == "test").sum())
        parts.append(f"{machine}: {len(noisy) - target} + {target} of {seconds:g} s, {test} test clips")
    return f"Training clips (source + target): {'; '.join(parts)}."
