"""``python -m bench.detection.two_microphones DATA``: what a far microphone is worth, on recordings of two channels.

``masd simulate DATA --channels 2`` makes them. Three default detectors are fitted on each machine: on the near
channel, on the mean of both, and on the near channel with the far one as the reference. The table has AUC source, AUC
target, pAUC and their harmonic mean, and false alarms at each detector's own threshold:

* ``burst``: the share of normal test clips with a burst of noise that are flagged;
* ``in burst``: the same, if the most anomalous segment touches a burst;
* ``quiet``: the share of the other normal test clips that are flagged.

The last lines have the same at thresholds that flag as many anomalies of each machine as the near channel's own.

The differences of the official score have a 95 % interval from paired resamples of the test clips.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from masd.arrays import Floats
from masd.bundle.bundle import load_bundle
from masd.config import Settings
from masd.data.folders.machine import list_machines, read_machine
from masd.evaluation.bootstrap import draw_weights, harmonic_means, weighted_metrics
from masd.evaluation.metrics import AREAS, official_metrics, official_score
from masd.evaluation.scoring import score_recordings
from masd.lifecycle import steps

SYSTEMS = {
    "near": ["audio.channel=0"],
    "mean": ["audio.channel=mean"],
    "near, far as reference": ["audio.channel=0", "audio.reference_channel=1"],
}
REFERENCE = "near, far as reference"
RESAMPLES = 1000


@dataclass(frozen=True)
class Scored:
    """The test clips of a machine under one system: ``clips`` has section, domain, condition, score, flagged, burst and
    in_burst, which says whether the most anomalous segment touches a burst.
    """

    clips: pd.DataFrame
    threshold: float


def score(folder: Path, settings: Settings) -> Scored:
    """Fit on a machine's folder and score its test clips."""
    machine, bursts = folder.name, json.loads((folder / "simulation.json").read_text(encoding="utf-8"))["bursts"]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        steps.featurize(folder.parent, [machine], settings, work / "features")
        steps.train(work / "features", [machine], settings, work / "network")
        steps.fit_detectors(work / "features", machine, work / "network", settings, work / "bundle")
        scorer = load_bundle(work / "bundle").scorer
    rows = []
    for clip, result in score_recordings(scorer, read_machine(folder, settings.data).split("test")):
        spans = [(burst["start_s"], burst["end_s"]) for burst in bursts.get(f"test/{clip.path.name}", ())]
        peak = max(result.segments, key=lambda segment: segment.score)
        rows.append(
            {
                "section": clip.section,
                "domain": clip.domain,
                "condition": clip.condition,
                "score": result.score,
                "flagged": result.anomalous,
                "burst": bool(spans),
                "in_burst": any(start < peak.end_s and peak.start_s < end for start, end in spans),
            }
        )
    return Scored(pd.DataFrame(rows), scorer.detectors.thresholds[scorer.system])


def false_alarms(scored: Sequence[Scored]) -> tuple[str, str, str]:
    """Flagged normal clips, of all there are: with a burst, with the peak in a burst, without a burst."""
    clips = pd.concat([one.clips for one in scored])
    normal = clips[clips["condition"] == "normal"]
    noisy, quiet = normal[normal["burst"]], normal[~normal["burst"]]
    during = int((noisy["flagged"] & noisy["in_burst"]).sum())
    return _share(int(noisy["flagged"].sum()), noisy), _share(during, noisy), _share(int(quiet["flagged"].sum()), quiet)


def detecting(scored: Scored, like: Scored) -> Scored:
    """``scored`` with a threshold that flags as many anomalies as ``like`` has flagged."""
    scores = np.sort(scored.clips.loc[scored.clips["condition"] == "anomaly", "score"].to_numpy())[::-1]
    count = int(like.clips.loc[like.clips["condition"] == "anomaly", "flagged"].sum())
    threshold = float(scores[count]) if count < len(scores) else -np.inf
    return Scored(scored.clips.assign(flagged=scored.clips["score"] > threshold), threshold)


def _share(count: int, of: pd.DataFrame) -> str:
    return f"{count}/{len(of)} ({count / max(len(of), 1):.0%})"


def resampled(scored: Sequence[Scored], seed: int = 0) -> Floats:
    """Official scores of resamples of every machine's test clips; the same resamples for every system."""
    rng = np.random.default_rng(seed)
    areas = []
    for one in scored:
        metrics = weighted_metrics(one.clips, one.clips["score"].to_numpy(), draw_weights(one.clips, RESAMPLES, rng))
        areas += [metrics[name] for name in AREAS]
    return 100 * harmonic_means(np.stack(areas))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection.two_microphones", description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders that masd simulate --channels 2 wrote")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    print("| fleet, machine | system | AUC source / target / pAUC - hmean | burst | in burst | quiet |")
    print("|---|---|---|---|---|---|")
    results: dict[str, list[Scored]] = {name: [] for name in SYSTEMS}
    metrics: dict[str, list[dict[str, float | None]]] = {name: [] for name in SYSTEMS}
    for folder in (data / machine for data in options.data for machine in list_machines(data)):
        for name, chosen in SYSTEMS.items():
            scored = score(folder, Settings.load(None, [*chosen, *options.set]))
            results[name].append(scored)
            found = official_metrics(scored.clips, scored.clips["score"], scored.threshold)
            metrics[name].append(found)
            values = " / ".join(f"{100 * (found[area] or np.nan):.1f}" for area in AREAS)
            alarms = " | ".join(false_alarms([scored]))
            where = f"{folder.parent.name}, {folder.name}"
            print(f"| {where} | {name} | {values} - {100 * (found['hmean'] or np.nan):.1f} | {alarms} |", flush=True)
    for name, scores in results.items():
        total = 100 * (official_score(metrics[name]) or np.nan)
        clips = pd.concat([one.clips for one in scores])
        found_share = clips.loc[clips["condition"] == "anomaly", "flagged"].mean()
        text = f"official score {total:.1f}, {found_share:.0%} of the anomalies flagged"
        print(f"| all | {name} | {text} | {' | '.join(false_alarms(scores))} |")
    for name, scores in results.items():
        alike = [detecting(one, near) for one, near in zip(scores, results["near"], strict=True)]
        print(f"| all, detecting as many as near | {name} | | {' | '.join(false_alarms(alike))} |")
    samples = {name: resampled(scores) for name, scores in results.items()}
    for name in SYSTEMS:
        if name != REFERENCE:
            low, high = np.quantile(samples[REFERENCE] - samples[name], [0.025, 0.975])
            gain = 100 * ((official_score(metrics[REFERENCE]) or np.nan) - (official_score(metrics[name]) or np.nan))
            print(f"far as reference minus {name}: {gain:+.1f} (95 % interval {low:+.1f} to {high:+.1f})")


if __name__ == "__main__":
    main()
