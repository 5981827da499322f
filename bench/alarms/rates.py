"""``python -m bench.alarms.rates [DATA]``: false-alarm rates and detection delays of alarm rules.

Normal scores are simulated from three distributions; each stream has a calibration of its own, so that the interval of
a mean covers the chance of the calibration too. A fault shifts a clip's score by 1, 2 or 4 standard deviations on the
scale on which normal scores are Gaussian (AUC 0.76, 0.92, 0.998). "exact" rules are tuned on the true distribution,
which no plant knows: they are the yardstick of the delays. "tuned" ones know what the calibration says. ``DATA`` is a
folder of real recordings: there, scores of normal clips are drawn again and again from those of the test split.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom, norm

from bench.alarms.rules import Draw, Found, Scores, cusum_rule, masd_rule, threshold_rule, tuned

SHAPES: dict[str, Callable[[Scores], Scores]] = {
    "Gaussian": lambda z: z,
    "log-normal": np.exp,
    "Student t, 2 degrees": lambda z: (2 * ndtr(z) - 1) / np.sqrt(2 * ndtr(z) * ndtr(-z)),
}
SIZES = (100, 500, 5000)
ASKED = (1000, 10_000)
STRENGTHS = (1.0, 2.0, 4.0)
STREAMS = 400
CLIPS = {1000: 5000, 10_000: 10_000}
WARM_UP, LONGEST = 100, 300
LEARNED = 5000
REAL = ("lathe", "bldcmotor", "carengine", "slider")
OVERRIDES = ["training.stage1_steps=1", "training.stage2_steps=1", "network.channels=[8,16,32,64]"]


def main(arguments: list[str]) -> None:
    begun = time.monotonic()
    rng = np.random.default_rng(0)
    for asked in ASKED:
        print(f"\nasked: one false alarm in {asked:,} clips; {STREAMS * CLIPS[asked]:,} simulated normal clips a row")
        limits = _exact_limits(asked, rng)
        for shape in SHAPES:
            _exact(shape, asked, limits[shape], rng)
            for size in SIZES:
                _calibrated(shape, size, asked, rng)
    _bound_of_loud_faults(ASKED[-1])
    print(
        "\nshare of calibrations that keep the rate for themselves, asked 1/1,000, 40,000 clips each, nothing learned"
    )
    for size in (50, *SIZES):
        calibrations = list(rng.normal(size=(100, size)))
        found = masd_rule(_drawing("Gaussian", rng), calibrations, 40_000, 1000)
        own = found.clips / np.maximum(found.alarms, 0.5)
        print(
            f"  {size:5,} scores: {np.mean(own >= 1000):4.0%}; the worst twentieth 1 in {np.quantile(own, 0.05):,.0f}"
        )
    print("\nclips that are alike (autoregression of Gaussian scores), 5,000 calibration scores, asked 1/1,000")
    for alike in (0.0, 0.5, 0.9):
        for block in (1, 4, 16):
            _alike(alike, block, rng)
    if arguments:
        for machine in REAL:
            _real(Path(arguments[0]), machine, rng)
    else:
        print("\nname a folder of real recordings to measure on their scores too")
    print(f"{time.monotonic() - begun:.0f} s")


def _bound_of_loud_faults(asked: int) -> None:
    """How fast a rule can be that knows ranks only: with fewer than ``asked`` scores, the highest rank of one clip is
    more frequent than 1/``asked``, so it needs a second clip. The best test of two clips is that of their sum.
    """
    limit, shift = norm.isf(1 / asked), STRENGTHS[-1]
    one, two = norm.sf(limit - shift), norm.sf(limit - np.sqrt(2) * shift)
    threshold, fastest = 1 / one, 2 + (1 - two)
    print(
        f"\nloud faults, asked 1/{asked:,}: a threshold on the true distribution needs {threshold:.2f} clips.\n"
        f"With fewer than {asked:,} scores no rule of ranks can raise an alarm after one clip, and the best test of\n"
        f"two clips on the true distribution needs at least {fastest:.2f}: {fastest / threshold:.2f} times as many"
    )


def _line(rule: str, found: Found, delays: list[float]) -> None:
    mean, low, high = found.mean_clips()
    alarms = "" if found.alarms.sum() else "at least "
    delay = "  ".join(f"{value:7.1f}" for value in delays)
    print(f"  {rule:44} {alarms}{mean:9,.0f} ({low:,.0f} to {high:,.0f})  delay {delay}", flush=True)


def _drawing(shape: str, rng: np.random.Generator, shift: float = 0.0) -> Draw:
    """Normal scores; with ``shift``, faulty ones from clip :data:`WARM_UP` on."""
    heard = 0

    def draw(clips: int, streams: int) -> Scores:
        nonlocal heard
        z = rng.normal(size=(clips, streams))
        z[max(WARM_UP - heard, 0) :] += shift
        heard += clips
        return SHAPES[shape](z)

    return draw


def _delays(shape: str, rng: np.random.Generator, rule: Callable[[Draw, int], Found]) -> list[float]:
    return [rule(_drawing(shape, rng, shift), WARM_UP + LONGEST).delay(WARM_UP) for shift in STRENGTHS]


def _three_of_five(rate: float) -> float:
    """Share of normal clips above a threshold at which "3 of 5" begins with this rate: two of four, then one more."""

    def begins(share: float) -> float:
        # the third comes in, and the window before had two at most, so the one that leaves was not above
        return share * float(binom.pmf(2, 4, share)) * (1 - share)

    low, high = 0.0, 0.2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if begins(middle) < rate else (low, middle)
    return middle


def _exact_limits(asked: int, rng: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """Per shape: mean, standard deviation, and the limit at which a CUSUM has exactly the asked rate."""
    found = {}
    for shape, score in SHAPES.items():
        many = score(rng.normal(size=1_000_000))
        centre, scale = float(np.mean(many)), float(np.std(many))
        samples, ones = score(rng.normal(size=(asked // 2, 400))), np.ones(400)

        def rate(
            limit: float,
            samples: Scores = samples,
            centre: Scores = centre * ones,
            scale: Scores = scale * ones,
        ) -> float:
            place = 0

            def draw(clips: int, streams: int) -> Scores:
                nonlocal place
                place += clips
                return samples[place - clips : place]

            run = cusum_rule(draw, centre, scale, len(samples), limit)
            return float(run.alarms.sum()) / samples.size

        found[shape] = (centre, scale, tuned(rate, 1 / asked, 0.5, 60.0))
    return found


def _exact(shape: str, asked: int, limits: tuple[float, float, float], rng: np.random.Generator) -> None:
    print(f" {shape}")
    ones, clips = np.ones(STREAMS), CLIPS[asked]
    centre, scale, limit = limits

    def at(share: float) -> Scores:
        return SHAPES[shape](np.array([norm.isf(share)])) * ones

    rules: dict[str, Callable[[Draw, int], Found]] = {
        "exact threshold": lambda draw, n: threshold_rule(draw, at(1 / asked), n),
        "exact 3 of 5 above": lambda draw, n: threshold_rule(draw, at(_three_of_five(1 / asked)), n, 3, 5),
        "exact CUSUM": lambda draw, n: cusum_rule(draw, centre * ones, scale * ones, n, limit),
    }
    for name, rule in rules.items():
        _line(name, rule(_drawing(shape, rng), clips), _delays(shape, rng, rule))


def _calibrated(shape: str, size: int, asked: int, rng: np.random.Generator) -> None:
    calibrations = list(SHAPES[shape](rng.normal(size=(STREAMS, size))))
    stacked = np.stack(calibrations)
    gaussian = {1000: 5.07, 10_000: 7.35}[asked]  # limits of a CUSUM of Gaussian scores at these rates

    def quantile(share: float) -> Scores:
        return np.asarray(np.quantile(stacked, 1 - share, axis=1, method="higher"))

    rules: dict[str, Callable[[Draw, int], Found]] = {
        f"threshold tuned on {size:,}": lambda draw, n: threshold_rule(draw, quantile(1 / asked), n),
        f"3 of 5 tuned on {size:,}": lambda draw, n: threshold_rule(draw, quantile(_three_of_five(1 / asked)), n, 3, 5),
        f"CUSUM tuned on {size:,}, as if Gaussian": lambda draw, n: cusum_rule(
            draw, stacked.mean(axis=1), stacked.std(axis=1), n, gaussian
        ),
        f"masd, {size:,} calibration scores, kept": lambda draw, n: masd_rule(draw, calibrations, n, asked),
    }
    if size < LEARNED:
        rules[f"masd, {size:,} calibration scores, learning"] = lambda draw, n: masd_rule(
            draw, calibrations, n, asked, most=LEARNED
        )
    for name, rule in rules.items():
        _line(name, rule(_drawing(shape, rng), CLIPS[asked]), _delays(shape, rng, rule))


def _alike(alike: float, block: int, rng: np.random.Generator) -> None:
    def drawing(shift: float = 0.0) -> Draw:
        last, heard = rng.normal(size=STREAMS), 0

        def draw(clips: int, streams: int) -> Scores:
            nonlocal last, heard
            found = np.empty((clips, streams))
            for clip in range(clips):
                last = alike * last + np.sqrt(1 - alike**2) * rng.normal(size=streams)
                found[clip] = last + (shift if heard >= WARM_UP else 0.0)
                heard += 1
            return found

        return draw

    calibrations = list(rng.normal(size=(STREAMS, 5000)))
    found = masd_rule(drawing(), calibrations, 10_000, 1000, block=block)
    delays = [
        masd_rule(drawing(shift), calibrations, WARM_UP + LONGEST, 1000, block=block).delay(WARM_UP)
        for shift in STRENGTHS
    ]
    _line(f"correlation {alike:.1f} of neighbours, blocks of {block}", found, delays)


def _real(data: Path, machine: str, rng: np.random.Generator) -> None:
    """Half of the test split's normal clips calibrate, the others are heard again and again; a new split a stream."""
    normal, faulty, trained = real_scores(data, machine)
    print(
        f"\n{machine}: {len(normal)} normal test clips, {len(faulty)} faulty, {len(trained)} held-out training scores"
    )

    def run(rule: Callable[[list[Scores], Draw, int, int], Found], name: str) -> None:
        for asked in ASKED:
            halves = [rng.permutation(normal) for _ in range(STREAMS)]
            known, heard = [h[: len(h) // 2] for h in halves], np.stack([h[len(h) // 2 :] for h in halves])

            def drawing(fault: bool, heard: Scores = heard) -> Draw:
                place = 0

                def draw(clips: int, streams: int) -> Scores:
                    nonlocal place
                    scores = np.take_along_axis(heard, rng.integers(0, heard.shape[1], (streams, clips)), axis=1).T
                    if fault:
                        scores[max(WARM_UP - place, 0) :] = rng.choice(faulty, scores[max(WARM_UP - place, 0) :].shape)
                    place += clips
                    return scores

                return draw

            found = rule(known, drawing(False), CLIPS[asked], asked)
            delay = rule(known, drawing(True), WARM_UP + LONGEST, asked).delay(WARM_UP)
            _line(f"{name}, asked 1/{asked:,}", found, [delay])

    run(lambda known, draw, n, asked: masd_rule(draw, known, n, asked, most=LEARNED), "masd, learning")
    run(lambda known, draw, n, asked: masd_rule(draw, known, n, asked), "masd, kept")
    run(lambda known, draw, n, asked: masd_rule(draw, [trained] * STREAMS, n, asked), "masd, training scores, kept")
    run(
        lambda known, draw, n, asked: masd_rule(draw, [trained] * STREAMS, n, asked, most=LEARNED),
        "masd, training scores, learning",
    )
    run(
        lambda known, draw, n, asked: threshold_rule(
            draw, np.array([np.quantile(one, 1 - 1 / asked, method="higher") for one in known]), n
        ),
        "threshold",
    )
    run(
        lambda known, draw, n, asked: cusum_rule(
            draw,
            np.array([np.mean(one) for one in known]),
            np.array([np.std(one) for one in known]),
            n,
            {1000: 5.07, 10_000: 7.35}[asked],
        ),
        "CUSUM, as if Gaussian",
    )


def real_scores(data: Path, machine: str) -> tuple[Scores, Scores, Scores]:
    """Scores of the normal and the faulty test clips, and of training clips held out, of a small bundle."""
    import pandas as pd

    from masd.bundle.bundle import load_bundle
    from masd.config import Settings
    from masd.data.folders.machine import read_machine
    from masd.evaluation.scoring import score_recordings
    from masd.lifecycle import steps

    settings = Settings.load(None, OVERRIDES)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        steps.featurize(data, [machine], settings, folder / "features")
        steps.train(folder / "features", [machine], settings, folder / "network", device="cpu")
        steps.fit_detectors(folder / "features", machine, folder / "network", settings, folder / "bundle")
        scorer = load_bundle(folder / "bundle").scorer
        results = list(score_recordings(scorer, read_machine(data / machine, settings.data).split("test")))
        trained = pd.read_parquet(folder / "bundle" / "reference.parquet")["score"].dropna().to_numpy()
    scores = np.array([result.score for _, result in results])
    faulty = np.array([clip.condition == "anomaly" for clip, _ in results])
    return scores[~faulty], scores[faulty], trained


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
