"""``python -m bench.detection.calibration DATA``: how many normal clips a threshold flags that should flag one in ten.

``before`` is the rule of version 0.1.0: held-out splits clip by clip, and the percentile of the few source clips set
aside from the network together with the target clips. ``after`` is what
:func:`masd.detection.detectors.fit_detectors` does for the default system. The encoder's latent, which has a share of
0.05 in the score, is left out of both: nothing is trained. Each seed draws other folds, other clips to set aside, and
``--source`` of the source clips. Shares are of the normal test clips, mean of the seeds, with the 95 % Wilson interval
of one seed's clips.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from masd.config import Settings
from masd.data.folders.machine import list_machines, read_machine
from masd.data.store import FeatureStore, build_store
from masd.detection.features.views import Views, views_of
from masd.detection.fused.detector import fit_fused, minimum, weighted
from masd.detection.threshold import Calibration, calibrate
from masd.evaluation.metrics import official_metrics
from masd.learning.calibration import calibration_rows
from masd.learning.normalisation import Normalisation

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One rule with one seed; ``flagged`` are shares of normal test clips: all, source, target."""

    flagged: tuple[float, float, float]
    normals: int
    hmean: float


class Sounds:
    """Frames and views, all but the latent, of a store's rows; each clip is looked at once."""

    def __init__(self, store: FeatureStore) -> None:
        self._store, self._normalisation = store, Normalisation.fit(store)
        self._views: dict[int, Views] = {}

    def __call__(self, rows: Rows) -> tuple[list[npt.NDArray[np.float32]], Views]:
        frames = [self._store.log_mel(int(row)) for row in rows]
        for row, log_mel in zip(rows.tolist(), frames, strict=True):
            if row not in self._views:
                bands = np.ascontiguousarray(self._normalisation(log_mel).T[None])
                self._views[row] = views_of(bands, np.zeros((1, 4, 4, 2), np.float32))
        of_rows = [self._views[row] for row in rows.tolist()]
        return frames, {name: np.concatenate([of[name] for of in of_rows]) for name in of_rows[0] if name != "latent"}


def measure(
    store: FeatureStore, sounds: Sounds, settings: Settings, source: int
) -> tuple[Outcome, Outcome, Calibration]:
    """Before and after, and what the new threshold rests on."""
    rng = np.random.default_rng(settings.seed + 100)
    rows, tested = store.normal_rows(), store.rows(split="test")
    domain = store.clips["domain"].to_numpy()
    of_source = rows[domain[rows] != "target"]
    rows = np.union1d(rng.permutation(of_source)[:source], rows[domain[rows] == "target"])
    is_target, recordings = domain[rows] == "target", store.clips["recording"].to_numpy()[rows]
    percentile, folds = settings.detection.threshold_percentile, settings.detection.held_out_folds
    drawn = replace(store, clips=store.clips.iloc[rows].reset_index(drop=True))
    unseen = np.isin(np.arange(len(rows)), calibration_rows(drawn, settings))

    old, members = fit_fused(*sounds(rows), is_target, folds, settings.seed)
    held_out, _ = minimum(weighted(members))
    used = unseen | is_target if unseen.any() else np.ones(len(rows), np.bool_)
    threshold = float(np.percentile(held_out[used], percentile))
    before = _outcome(store, tested, old.score_views(*sounds(tested))[0], threshold)

    new, members = fit_fused(*sounds(rows), is_target, folds, settings.seed, recordings)
    held_out, _ = minimum(weighted(members))
    found = calibrate(held_out, recordings, is_target, percentile, settings.seed)
    return before, _outcome(store, tested, new.score_views(*sounds(tested))[0], found.threshold), found


def _outcome(store: FeatureStore, rows: Rows, scores: Scores, threshold: float) -> Outcome:
    table = store.clips.iloc[rows].reset_index(drop=True)
    normal, target = (table["condition"] == "normal").to_numpy(), (table["domain"] == "target").to_numpy()
    parts = (normal, normal & ~target, normal & target)
    shares = [float(np.mean(scores[part] > threshold)) if part.any() else np.nan for part in parts]
    hmean = official_metrics(table, scores, threshold)["hmean"]
    return Outcome((shares[0], shares[1], shares[2]), int(normal.sum()), np.nan if hmean is None else 100 * hmean)


def report(machine: str, results: list[tuple[Outcome, Outcome, Calibration]], rate: float) -> tuple[float, float]:
    """Print a line of the table; returns by how many points either rule misses the rate."""
    cells, misses = [], []
    for rule in (0, 1):
        outcomes: list[Outcome] = [result[rule] for result in results]  # type: ignore[misc]
        share, source, target = (100 * np.mean([o.flagged[part] for o in outcomes]) for part in range(3))
        normals = outcomes[0].normals
        low, high = binomtest(round(share / 100 * normals), normals).proportion_ci(method="wilson")
        misses.append(abs(share - 100 * rate))
        cells.append(f"{share:.1f} ({100 * low:.0f} to {100 * high:.0f}; {source:.0f} / {target:.0f})")
    found = [result[2] for result in results]
    interval = " to ".join(f"{np.mean([getattr(one, end) for one in found]):.2f}" for end in ("low", "high"))
    threshold = f"{np.mean([one.threshold for one in found]):.2f} ({interval})"
    areas = " -> ".join(f"{np.mean([result[rule].hmean for result in results]):.1f}" for rule in (0, 1))  # type: ignore[union-attr]
    rests = f"{found[0].clips}, {found[0].recordings}"
    print(
        f"| {machine} | {results[0][0].normals} | {' | '.join(cells)} | {rests} | {threshold} | {areas} |", flush=True
    )
    return float(misses[0]), float(misses[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection.calibration", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--machines", help="separated by commas (default: all)")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--source", type=int, default=150, help="source clips to train with (default 150)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = Settings.load(None, options.set)
    rate = 1 - settings.detection.threshold_percentile / 100
    print("| machine | normal test clips | before | after | clips, recordings | threshold | hmean |", flush=True)
    print("|---|---|---|---|---|---|---|")
    misses = []
    for machine in options.machines.split(",") if options.machines else list_machines(options.data):
        with tempfile.TemporaryDirectory() as folder:
            store = build_store(read_machine(options.data / machine, settings.data), settings, Path(folder) / machine)
            sounds = Sounds(store)
            seeds = [settings.model_copy(update={"seed": int(seed)}) for seed in options.seeds.split(",")]
            misses.append(report(machine, [measure(store, sounds, own, options.source) for own in seeds], rate))
    before, after = np.array(misses).T
    print(f"mean absolute miss, points: {before.mean():.1f} before, {after.mean():.1f} after")
    print(f"largest: {before.max():.1f} before, {after.max():.1f} after")


if __name__ == "__main__":
    main()
