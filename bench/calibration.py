"""``python -m bench.calibration DATA [--machines A,B] [--seeds 0,1,2]``: how many normal clips a threshold flags that was
asked to flag one in ten.

``before`` is the rule of version 0.1.0: held-out splits clip by clip, and the percentile of the few clips set aside from
the network and of the target clips. ``after`` is what :func:`masd.detection.detectors.fit_detectors` does for the
default system. Both on the same network, trained briefly: it has a share of 0.05 in the score. Shares are of the normal
test clips, mean of the seeds, with the 95 % Wilson interval of one seed's clips; AUCs by the official rule.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from masd.config import Settings
from masd.data.folders import list_machines, read_machine
from masd.data.store import FeatureStore, build_store
from masd.detection.detectors import joined_views
from masd.detection.features import ClipFeatures, FeatureExtractor
from masd.detection.fused.detector import FusedDetector, fit_fused
from masd.detection.threshold import Calibration, calibrate
from masd.evaluation.metrics import official_metrics
from masd.learning.train import train_network
from masd.learning.trained import load_network

BRIEF = ["training.stage1_epochs=2", "training.stage2_epochs=2"]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One rule on one machine with one seed; ``flagged`` are shares of normal test clips: all, source, target."""

    flagged: tuple[float, float, float]
    normals: int
    hmean: float
    calibration: Calibration | None = None


def measure(store: FeatureStore, settings: Settings, folder: Path) -> tuple[Outcome, Outcome]:
    """Before and after, with one network."""
    train_network([store], settings, folder, device="cpu")
    trained = load_network(folder)
    extract = FeatureExtractor(trained.network, trained.normalisations[store.machine_type], settings.windows)
    rows, tested = store.normal_rows(), store.rows(split="test")
    clips, test = extract.rows(store, rows), extract.rows(store, tested)
    is_target = store.clips["domain"].to_numpy()[rows] == "target"
    unseen = store.clips["name"].iloc[rows].isin(trained.set_aside[store.machine_type]).to_numpy()
    recordings = store.clips["recording"].to_numpy()[rows]
    log_mels, views = [clip.log_mel for clip in clips], joined_views([clip.views for clip in clips])
    percentile, folds = settings.detection.threshold_percentile, settings.detection.held_out_folds

    old, held_out = fit_fused(log_mels, views, is_target, folds, settings.seed)
    used = unseen | is_target if unseen.any() else np.ones(len(rows), np.bool_)
    before = _outcome(store, tested, _scores(old, test), float(np.percentile(held_out[used], percentile)))

    new, held_out = fit_fused(log_mels, views, is_target, folds, settings.seed, recordings, unseen)
    found = calibrate(held_out, recordings, is_target, percentile, settings.seed)
    after = _outcome(store, tested, _scores(new, test), found.threshold, found)
    _RAW.append(
        dict(
            machine=store.machine_type,
            seed=settings.seed,
            held_out=held_out,
            is_target=is_target,
            recordings=recordings,
            unseen=unseen,  # RAW
            test=_scores(new, test),
            domain=store.clips["domain"].to_numpy()[tested].astype(str),
            condition=store.clips["condition"].to_numpy()[tested].astype(str),
        )
    )  # RAW
    return before, after


_RAW: list[dict] = []  # RAW


def _scores(detector: FusedDetector, clips: list[ClipFeatures]) -> Scores:
    return detector.score([clip.log_mel for clip in clips], joined_views([clip.views for clip in clips]))[0]


def _outcome(
    store: FeatureStore, rows: npt.NDArray[np.int64], scores: Scores, threshold: float, found: Calibration | None = None
) -> Outcome:
    table = store.clips.iloc[rows]
    normal = (table["condition"] == "normal").to_numpy()
    target = (table["domain"] == "target").to_numpy()
    shares = [
        float(np.mean(scores[of] > threshold)) if of.any() else np.nan
        for of in (normal, normal & ~target, normal & target)
    ]
    hmean = official_metrics(table, scores, threshold)["hmean"]
    return Outcome((shares[0], shares[1], shares[2]), int(normal.sum()), 100 * (hmean or np.nan), found)


def report(machine: str, before: list[Outcome], after: list[Outcome], rate: float) -> tuple[float, float]:
    """Print a line of the table; returns how far both rules miss the rate, in points."""
    cells, misses = [], []
    for outcomes in (before, after):
        share, source, target = np.mean([outcome.flagged for outcome in outcomes], axis=0)
        count = round(share * outcomes[0].normals)
        low, high = binomtest(count, outcomes[0].normals).proportion_ci(method="wilson")
        misses.append(100 * abs(share - rate))
        cells.append(
            f"{100 * share:.1f} ({100 * low:.0f} to {100 * high:.0f}; {100 * source:.0f} / {100 * target:.0f})"
        )
    found = [outcome.calibration for outcome in after if outcome.calibration]
    rests = f"{found[0].clips} clips, {found[0].recordings} recordings"
    interval = " to ".join(f"{np.mean([getattr(one, end) for one in found]):.2f}" for end in ("low", "high"))
    areas = " -> ".join(f"{np.mean([outcome.hmean for outcome in outcomes]):.1f}" for outcomes in (before, after))
    print(f"| {machine} | {before[0].normals} | {' | '.join(cells)} | {rests} | {interval} | {areas} |", flush=True)
    return misses[0], misses[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--machines")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--stores")  # RAW
    options = parser.parse_args()
    machines = options.machines.split(",") if options.machines else list_machines(options.data)
    misses = []
    print(
        "| machine | normal test clips | flagged before, % (interval; source / target) | after | rests on | threshold | hmean |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for machine in machines:
            settings = Settings.load(None, [*BRIEF, *options.set])
            at = Path(options.stores or folder) / machine
            if not (at / "store.json").exists():
                build_store(read_machine(options.data / machine, settings.data), settings, at)
            store = FeatureStore.open(at)
            pairs = [
                measure(store, settings.model_copy(update={"seed": seed}), Path(folder) / f"{machine}-{seed}")
                for seed in map(int, options.seeds.split(","))
            ]
            rate = 1 - settings.detection.threshold_percentile / 100
            misses.append(report(machine, [p[0] for p in pairs], [p[1] for p in pairs], rate))
            import pickle

            pickle.dump(_RAW, open(f"/tmp/thresh/raw-{machines[0]}.pkl", "wb"))  # RAW
    print("mean absolute miss, points: {:.1f} before, {:.1f} after".format(*np.mean(misses, axis=0)))
    print("largest: {:.1f} before, {:.1f} after".format(*np.max(misses, axis=0)))


if __name__ == "__main__":
    main()
