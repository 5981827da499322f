"""``python -m bench.alarms.commissioning [DATA]``: calibrate with a window of the log, then count false alarms.

Each window has 500 to 5,000 clips of which 0, 2 or 5 % are of a loud fault (4 standard deviations), in one stretch or
scattered. The window goes through :func:`masd.alarms.commissioning.commission.commission` as
``masd registry calibrate --despite drift,alarms`` takes it; then normal clips of the same distribution are heard.
"""

import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from bench.alarms.rates import LONGEST, SHAPES, WARM_UP, real_scores
from bench.alarms.rules import Draw, Scores, masd_rule
from masd.alarms.commissioning.commission import Commissioning, commission
from masd.alarms.step import LEARNED
from masd.errors import MasdError

SIZES, SHARES, WINDOWS, ASKED = (500, 1500, 5000), (0.0, 0.02, 0.05), 20, 1000
LATER, STREAMS = 5000, 20
START = datetime(2026, 1, 5, tzinfo=UTC)


def main(arguments: list[str]) -> None:
    begun = time.monotonic()
    rng = np.random.default_rng(0)
    print(f"asked 1/{ASKED:,}; {WINDOWS} windows a row, {WINDOWS * STREAMS * LATER:,} later normal clips a row")
    print("window                                           doubted  left out  promised for single clips   later: 1 in")
    for shape in ("Gaussian", "log-normal"):
        for size in SIZES:
            for share in SHARES:
                for stretch in (True, False) if share else (True,):
                    _row(
                        f"{shape}, {size:,}",
                        lambda n, score=SHAPES[shape]: score(rng.normal(size=n)),
                        lambda n, score=SHAPES[shape]: score(rng.normal(4.0, size=n)),
                        size,
                        share,
                        stretch,
                        rng,
                    )
    for machine in ("bldcmotor", "lathe") if arguments else ():
        normal, faulty, trained = real_scores(Path(arguments[0]), machine)
        above = float((normal > np.percentile(trained, 90)).mean())
        print(f"{machine}: {above:.0%} of normal test clips are above the 90th percentile of held-out training clips")
        for size in SIZES:
            for share in SHARES:
                # a little noise, so that 50 clips drawn again and again are not 50 scores only
                spread = 0.1 * float(np.std(normal))
                _row(
                    f"{machine}, {size:,}",
                    lambda n, pool=normal, spread=spread: rng.choice(pool, n) + rng.normal(0.0, spread, n),
                    lambda n, pool=faulty: rng.choice(pool, n),
                    size,
                    share,
                    True,
                    rng,
                )
    print(f"{time.monotonic() - begun:.0f} s")


def _row(name, normal, faulty, size, share, stretch, rng) -> None:  # type: ignore[no-untyped-def]
    taken: list[Commissioning] = []
    for _ in range(WINDOWS):
        scores, faults = normal(size), round(share * size)
        first = int(rng.integers(0, size - faults + 1))
        places = np.arange(first, first + faults) if stretch else rng.choice(size, faults, replace=False)
        scores[places] = faulty(faults)
        try:
            taken.append(_commission(scores))
        except MasdError as error:
            print(f"  {name}: {error}")
    known = [np.concatenate([np.array(own) for own in one.scores.values()]) for one in taken for _ in range(STREAMS)]

    def draw(clips: int, streams: int) -> Scores:
        return np.asarray(normal(clips * streams)).reshape(clips, streams)

    mean, low, high = masd_rule(draw, known, LATER, ASKED, most=LEARNED).mean_clips()
    delay = masd_rule(_then(draw, faulty), known, WARM_UP + LONGEST, ASKED).delay(WARM_UP)
    layout = "" if not share else f", {share:.0%} faults {'in a stretch' if stretch else 'scattered'}"
    doubted = sum("alarms" in one.doubts for one in taken)
    left_out = np.mean([one.left_out for one in taken])
    promised = 1 / np.mean([one.promised for one in taken])
    print(
        f"{name + layout:48} {doubted:4} of {len(taken)}  {left_out:7.1f}  {promised:8,.0f}   "
        f"{mean:9,.0f} ({low:,.0f} to {high:,.0f})  delay {delay:.1f}",
        flush=True,
    )


def _then(draw: Draw, faulty) -> Draw:  # type: ignore[no-untyped-def]
    heard = 0

    def both(clips: int, streams: int) -> Scores:
        nonlocal heard
        scores = draw(clips, streams)
        later = scores[max(WARM_UP - heard, 0) :]
        later[:] = np.asarray(faulty(later.size)).reshape(later.shape)
        heard += clips
        return scores

    return both


def _commission(scores: Scores) -> Commissioning:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        rows = (
            {
                "time": (START + timedelta(seconds=10 * place)).isoformat(timespec="milliseconds"),
                "request_id": str(place),
                "machine_type": "fan",
                "model_version": "1",
                "domain": "source",
                "score": float(score),
            }
            for place, score in enumerate(scores)
        )
        log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return commission(log, "fan", "1", 1 / ASKED)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
