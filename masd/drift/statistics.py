"""Test whether a window of clips is distributed like the reference: one test per column, one false-alarm rate for all.

Drift distances with fixed limits (Wasserstein >= 0.1, PSI > 0.1) raise false alarms on a third to all small windows
without drift. Here every column gets a p-value, and the smallest is compared with the smallest p-values after shuffling
reference and window together (Westfall and Young, 1993). This takes the correlation of columns into account, holds at
every window size, and assumes only that normal clips come in any order. Clips that are recorded one after the other are
alike, so a window of one afternoon can differ from the reference although nothing is wrong.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import kolmogorov
from scipy.stats import hypergeom

from masd.arrays import Floats, Mask
from masd.audio.signals import SIGNAL_COLUMNS

MODEL_COLUMNS = ("score", "margin", "reconstruction_error", "embedding_distance")
"""Values of the model. The reference has them only for clips that the network was not trained on."""

COLUMNS = MODEL_COLUMNS + SIGNAL_COLUMNS
"""The compared columns of a logged clip."""

FREQUENT_SHARE = 0.9
"""If one value has at least this share of the reference, the share of this value is compared."""

TAIL = 25
"""The expected number of shuffles below the threshold; more make the threshold more precise."""

_DECIMALS = {"duration_s": 2}  # resampling changes a clip by a sample: not a different duration

PADDING_S = 0.1
"""A codec lengthens a clip by at most this, and by at most a twentieth: MP3 at 16 kHz makes 10.08 s of 10 s."""


@dataclass(frozen=True)
class ColumnDrift:
    """The test of one column: ``drifted`` if ``p_value < threshold``.

    ``reference`` and ``window`` are medians for ``test == "ks"``; for ``"match share"`` they are the shares
    of clips with the value ``usual``, the most frequent one of the reference.
    """

    p_value: float
    threshold: float
    drifted: bool
    test: Literal["ks", "match share"]
    reference: float
    window: float
    usual: float | None = None

    def describe(self, name: str) -> str:
        """``level_dbfs (median -31.2 -> -24.9, p 1e-12)``."""
        if self.usual is None:
            change = f"median {self.reference:.3g} -> {self.window:.3g}"
        else:
            change = f"{self.reference:.0%} -> {self.window:.0%} of clips at {self.usual:g}"
        return f"{name} ({change}, p {self.p_value:.1g})"


def rounded(clips: pd.DataFrame) -> pd.DataFrame:
    """Those of :data:`COLUMNS` that are there, as float64, durations to the hundredth of a second."""
    return clips[[name for name in COLUMNS if name in clips]].astype(np.float64).round(_DECIMALS)


def compare(
    reference: pd.DataFrame, window: pd.DataFrame, false_alarm_rate: float, seed: int = 0
) -> dict[str, ColumnDrift]:
    """Test every column of ``window`` against ``reference`` (both as :func:`rounded` returns them).

    The rate is split evenly between :data:`MODEL_COLUMNS`, for which only some rows of the reference count, and
    :data:`SIGNAL_COLUMNS`. A column with a single value in both is left out.
    Returns the tested columns in the order of :data:`COLUMNS`.
    """
    window = _without_padding(reference, window)
    families = []
    for columns in (MODEL_COLUMNS, SIGNAL_COLUMNS):
        names = [name for name in columns if name in window and name in reference]
        known = reference[names].dropna()
        names = [name for name in names if len(known) and pd.concat([known[name], window[name]]).nunique() > 1]
        if names:
            families.append((known[names], window[names]))
    found: dict[str, ColumnDrift] = {}
    for known, own in families:
        found |= _compare_together(known, own, false_alarm_rate / len(families), np.random.default_rng(seed))
    return found


def _without_padding(reference: pd.DataFrame, window: pd.DataFrame) -> pd.DataFrame:
    """Replace durations that differ from the most frequent one by no more than a codec's padding by that one."""
    if "duration_s" not in reference or "duration_s" not in window:
        return window
    usual = frequent_value(reference["duration_s"])
    if usual is None:
        return window
    padded = (window["duration_s"] - usual).abs() <= min(PADDING_S, usual / 20) + 1e-9
    return window.assign(duration_s=window["duration_s"].mask(padded, usual))


def _compare_together(
    reference: pd.DataFrame, window: pd.DataFrame, rate: float, rng: np.random.Generator
) -> dict[str, ColumnDrift]:
    """Test columns so that in at most a share ``rate`` of shuffles the smallest p-value is below the threshold."""
    rows = len(reference) + len(window)
    count = max(999, round(TAIL / rate) - 1)
    labels = np.zeros((rows, count + 1), dtype=np.bool_)  # which rows are the window; the first column is the truth
    labels[len(reference) :] = True
    labels[:, 1:] = rng.permuted(labels[:, 1:], axis=0)
    usual = {name: frequent_value(reference[name]) for name in reference}
    p_values = {}
    for name in reference:
        values = np.concatenate([reference[name].to_numpy(), window[name].to_numpy()])
        common = usual[name]
        p_values[name] = ks_p_values(values, labels) if common is None else fisher_p_values(values == common, labels)
    smallest = np.sort(np.min([p[1:] for p in p_values.values()], axis=0))
    threshold = float(smallest[int(rate * (count + 1)) - 1])
    return {
        str(name): ColumnDrift(
            p_value=float(p[0]),
            threshold=threshold,
            drifted=bool(p[0] < threshold),
            test="ks" if usual[name] is None else "match share",
            reference=_typical(reference[name], usual[name]),
            window=_typical(window[name], usual[name]),
            usual=usual[name],
        )
        for name, p in p_values.items()
    }


def frequent_value(reference: "pd.Series[float]") -> float | None:
    """The value of at least :data:`FREQUENT_SHARE` of the reference, or None.

    A rank test is nearly blind on such columns: with 990 reference clips at 16 kHz, two clips of fifty at
    44.1 kHz give a Kolmogorov-Smirnov p-value of 1, although by chance both would be in the window only once in
    440 times.
    """
    counts = reference.value_counts()
    return float(counts.index[0]) if counts.iloc[0] >= FREQUENT_SHARE * len(reference) else None


def ks_p_values(values: Floats, labels: Mask) -> Floats:
    """Two-sample Kolmogorov-Smirnov test of ``values`` ``[n]`` for each division ``labels`` ``[n, k]`` in two.

    Returns asymptotic p-values ``[k]``; with the same sizes, a larger distance has a smaller p-value.
    """
    order = np.argsort(values, kind="stable")
    inside, rows = int(labels[:, 0].sum()), len(values)
    outside = rows - inside
    # inside * outside * (F_inside - F_outside), in whole numbers: a step up for each row inside, down for each outside
    gap = labels[order].astype(np.int32)
    gap *= rows
    gap -= inside
    np.cumsum(gap, axis=0, out=gap)
    last = np.append(np.diff(values[order]) > 0, True)  # of each run of equal values
    if not last.all():
        gap = gap[last]
    distance = np.maximum(gap.max(axis=0), -gap.min(axis=0)) / (inside * outside)
    p_values: Floats = kolmogorov(np.sqrt(inside * outside / (inside + outside)) * distance)
    return p_values


def fisher_p_values(has_value: Mask, labels: Mask) -> Floats:
    """Fisher's exact test: is the share of ``has_value`` ``[n]`` the same on both sides of ``labels`` ``[n, k]``?

    Two-sided: the probability of all tables that are at most as likely as the observed one.
    """
    inside, rows, hits = int(labels[:, 0].sum()), len(has_value), int(has_value.sum())
    tables = np.arange(max(0, inside + hits - rows), min(inside, hits) + 1)
    probability = hypergeom.pmf(tables, rows, hits, inside)
    likelihood = np.sort(probability)
    total = np.cumsum(likelihood)
    p_of_table = total[np.searchsorted(likelihood, probability * (1 + 1e-7), side="right") - 1]
    counts = labels[has_value].sum(axis=0)
    p_values: Floats = np.minimum(p_of_table[counts - tables[0]], 1.0)
    return p_values


def _typical(values: "pd.Series[float]", usual: float | None) -> float:
    return float(values.median() if usual is None else (values == usual).mean())
