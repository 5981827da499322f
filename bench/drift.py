"""``python -m bench.drift [DATA]``: the false-alarm rate and the detection rate of drift checks.

Every window is a real check: a trained bundle with its own reference, and clips the bundle has never heard, drawn
without replacement from a pool. Evidently's ``DataDriftPreset`` with its defaults judges the same windows.
``DATA`` is a folder of real recordings (lathe, bldcmotor, slider). Their normal clips are divided anew for each bundle,
into those it is trained on and a pool. The pools are small, so windows of 50 is as far as they go, and windows of one
bundle overlap: how many bundles there are says more than how many windows.
"""

import io
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import torch

from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.simulation import simulate
from masd.data.simulation.dataset import CATALOGUE
from masd.data.simulation.machine import Machine
from masd.data.simulation.plan import PlannedClip
from masd.data.simulation.recording import record
from masd.data.simulation.signals import RATE
from masd.detection.scorer import Scorer
from masd.drift.reference import read_reference
from masd.drift.statistics import compare, rounded
from masd.lifecycle import steps

SIZES = (50, 100, 200, 1000)
SIMULATED = (*((machine, 1) for machine in CATALOGUE), ("fan", 2), ("valve", 2), ("bearing", 2))
REAL_POOLS = {"lathe": 100, "slider": 56, "bldcmotor": 50}
REAL = tuple((machine, seed) for seed in (1, 2, 3, 4) for machine in REAL_POOLS)
WINDOWS, SHIFTED_WINDOWS = 50, 8  # per bundle, size and shift
TRAIN, POOL, SHIFTED_POOL = 220, 1100, 120
SECONDS = 3.0
FALSE_ALARM_RATE = 0.05
OVERRIDES = [
    "detection.latent=true",  # a model with a network has two more columns to compare
    *("training.stage1_steps=2", "training.stage2_steps=2", "network.channels=[8,16,32,64]"),
]
NO_DRIFT = "none (false alarms)"


@dataclass(frozen=True)
class Job:
    """One bundle with its pools; ``data`` is None for a simulated machine."""

    machine: str
    seed: int
    data: Path | None = None


def main(arguments: list[str]) -> None:
    start = time.monotonic()
    jobs = [Job(machine, seed) for machine, seed in SIMULATED]
    if arguments:
        jobs += [Job(machine, seed, Path(arguments[0])) for machine, seed in REAL]
    os.environ |= {"DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        checks = pd.concat(workers.map(_checks, jobs), ignore_index=True)
    for kind, found in checks.groupby("kind", sort=False):
        print(f"\n{kind}: share of windows that raise an alarm, in %; {found['bundle'].nunique()} bundles")
        print(f"{'drift':30} {'clips':>5} {'windows':>7} {'masd':>6} {'preset':>7} {'any column of it':>17}")
        for (case, size), own in found.groupby(["case", "size"], sort=False):
            shares = [f"{100 * own[name].mean():.1f}" for name in ("masd", "preset", "any_column")]
            print(f"{case:30} {size:5} {len(own):7} {shares[0]:>6} {shares[1]:>7} {shares[2]:>17}")
    if not arguments:
        print("\nname a folder of real recordings to measure false alarms on them too")
    print(f"one check of 1,000 clips takes {1e3 * checks.loc[checks['size'] == 1000, 'seconds'].median():.0f} ms")
    print(f"{time.monotonic() - start:.0f} s")


def _checks(job: Job) -> pd.DataFrame:
    """All windows of one bundle, judged."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Evidently's tests warn of small counts
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as quiet:
        sys.stderr = quiet  # progress of the steps
        bundle, pools = (_simulated if job.data is None else _real)(job, Path(folder))
        reference = read_reference(bundle / "reference.parquet")
    rng = np.random.default_rng(job.seed)
    rows = []
    for case, size, window in _windows(pools, rng):
        begun = time.perf_counter()
        ours = any(column.drifted for column in compare(reference, window, FALSE_ALARM_RATE).values())
        seconds = time.perf_counter() - begun
        drifted = _preset(reference, window)
        rows.append((case, size, ours, sum(drifted) >= len(drifted) / 2, any(drifted), seconds))
    kind = "simulated machines" if job.data is None else "real recordings"
    frame = pd.DataFrame(rows, columns=["case", "size", "masd", "preset", "any_column", "seconds"])
    return frame.assign(kind=kind, bundle=f"{kind} {job.machine} {job.seed}")


def _windows(pools: dict[str, pd.DataFrame], rng: np.random.Generator) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Windows without drift come from the first pool; a shifted window larger than its pool repeats clips."""
    for case, pool in pools.items():
        for size in SIZES:
            if case == NO_DRIFT and size > len(pool):
                continue
            distinct = WINDOWS if size < len(pool) else 1
            for _ in range(distinct if case == NO_DRIFT else SHIFTED_WINDOWS):
                yield case, size, pool.iloc[rng.choice(len(pool), size, replace=size > len(pool))]
    if "new fault" in pools:
        for size in SIZES:
            for _ in range(SHIFTED_WINDOWS):
                faulty = pools["new fault"].sample(size // 5, replace=size // 5 > SHIFTED_POOL, random_state=rng)
                normal = pools[NO_DRIFT].sample(size - size // 5, random_state=rng)
                yield "new fault in every fifth clip", size, pd.concat([normal, faulty])


def _preset(reference: pd.DataFrame, window: pd.DataFrame) -> list[bool]:
    """Which columns ``DataDriftPreset`` finds drifted: its own choice of test and limit for each, without its plots.

    The preset as a whole says drift from half of the columns on.
    """
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    drifted = []
    for name in window:
        before, after = reference[name].dropna(), window[name]
        test = get_stattest(before, after, ColumnType.Numerical, None)
        drifted.append(bool(test(before, after, ColumnType.Numerical, test.default_threshold).drifted))
    return drifted


def _simulated(job: Job, folder: Path) -> tuple[Path, dict[str, pd.DataFrame]]:
    simulate(folder / "data", [job.machine], train=TRAIN, test=4, seconds=SECONDS, seed=job.seed)
    scorer = _train(folder, job.machine)
    machine, seed = CATALOGUE[job.machine], 1000 + job.seed  # other random numbers than the training clips'
    low, high = machine.snr_db
    kind, severity = next(iter(machine.faults.items()))
    numbers = range(SHIFTED_POOL)
    source = [PlannedClip("test", "source", "normal", index) for index in numbers]
    target = [PlannedClip("test", "target", "normal", index) for index in numbers]
    fault = [PlannedClip("test", "source", "anomaly", index) for index in numbers]
    normal = [PlannedClip("train", "source", "normal", index) for index in range(POOL)]
    pools = {
        NO_DRIFT: _scored(scorer, machine, normal, seed),
        "source -> target": _scored(scorer, machine, target, seed),
        "noise +6 dB, same level": _scored(scorer, replace(machine, snr_db=(low - 6.0, high - 6.0)), source, seed),
        "microphone gain +3 dB": _scored(scorer, machine, source, seed, gain=10 ** (3.0 / 20)),
        "new fault": _scored(scorer, replace(machine, faults={kind: severity}), fault, seed),
    }
    return folder / "bundle", pools


def _scored(scorer: Scorer, machine: Machine, clips: list[PlannedClip], seed: int, gain: float = 1.0) -> pd.DataFrame:
    records = []
    for clip in clips:
        wav = io.BytesIO()
        sf.write(wav, gain * record(machine, clip, int(SECONDS * RATE), seed).samples, RATE, format="WAV")
        records.append(scorer.score([scorer.decode(wav.getvalue())])[0].to_record())
    return rounded(pd.DataFrame(records))


def _real(job: Job, folder: Path) -> tuple[Path, dict[str, pd.DataFrame]]:
    """Source normals of both splits, divided anew; the test split's are renamed, because names say the split."""
    assert job.data is not None
    source = job.data / job.machine
    normals = sorted(file for file in source.glob("*/*.wav") if "_source_" in file.name and "_normal_" in file.name)
    normals = [file for file in normals if file.parent.name != "supplemental"]
    pool = set(np.random.default_rng(job.seed).choice(len(normals), REAL_POOLS[job.machine], replace=False).tolist())
    train = folder / "data" / job.machine / "train"
    train.mkdir(parents=True)
    for number, file in enumerate(normals):
        if number not in pool:
            shutil.copy(file, train / f"section_00_source_train_normal_{number:04d}_noAttribute.wav")
    for file in source.glob("train/*_target_*.wav"):
        shutil.copy(file, train / file.name)
    scorer = _train(folder, job.machine)
    records = [scorer.score([scorer.decode(normals[number])])[0].to_record() for number in sorted(pool)]
    return folder / "bundle", {NO_DRIFT: rounded(pd.DataFrame(records))}


def _train(folder: Path, machine: str) -> Scorer:
    settings = Settings.load(None, OVERRIDES)
    steps.featurize(folder / "data", [machine], settings, folder / "features")
    steps.train(folder / "features", [machine], settings, folder / "network", device="cpu")
    steps.fit_detectors(folder / "features", machine, folder / "network", settings, folder / "bundle")
    return load_bundle(folder / "bundle").scorer


if __name__ == "__main__":
    main(sys.argv[1:])
