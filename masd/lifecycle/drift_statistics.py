"""Is a window of clips distributed like the reference? A test a column, one false-alarm rate for all.

Drift distances with fixed limits (Wasserstein >= 0.1, PSI > 0.1) raise false alarms on a third to all of
small windows without any drift, so every column gets a test with a p-value, and the wanted false-alarm rate
is divided by the number of columns (Bonferroni). The rate holds for independent clips: clips recorded back to
back resemble each other, and a window of one afternoon can be unlike the reference with nothing wrong.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import fisher_exact, ks_2samp

COLUMNS = (
    "score",
    "reconstruction_error",
    "level_dbfs",
    "clipped_share",
    "spectral_centroid_hz",
    "duration_s",
    "sample_rate",
)
"""What is compared of a logged clip. ``margin`` is left out: it is ``score`` shifted by the threshold."""

USUAL_SHARE = 0.9
"""From this share of the reference on one value, a column is compared by how often that value comes."""

_DECIMALS = {"duration_s": 2}  # lossy formats pad a clip by some samples: not a different duration


@dataclass(frozen=True)
class ColumnDrift:
    """The test of one column.

    ``reference`` and ``window`` are medians for ``test == "ks"``; for ``"match share"`` they are the shares
    of clips at ``usual``, the reference's usual value.
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


def usual_value(reference: pd.Series) -> float | None:
    """The value that at least :data:`USUAL_SHARE` of the reference has, or None where values spread.

    A rank test is nearly blind on such columns: with 990 reference clips at 16 kHz, two clips of fifty at
    44.1 kHz give a Kolmogorov-Smirnov p-value of 1, though by chance both would come into the window once in
    440 times.
    """
    counts = reference.value_counts()
    return float(counts.index[0]) if counts.iloc[0] >= USUAL_SHARE * len(reference) else None


def ks_p_value(reference: pd.Series, window: pd.Series) -> float:
    """Two-sample Kolmogorov-Smirnov test. Ties make it more cautious: the false-alarm rate stays a bound."""
    return float(ks_2samp(reference, window).pvalue)


def match_share_p_value(reference: npt.NDArray[np.bool_], window: npt.NDArray[np.bool_]) -> float:
    """Fisher's exact test: is the share of clips at the usual value the same in both?"""
    table = [[int(side.sum()), int((~side).sum())] for side in (reference, window)]
    return float(fisher_exact(table).pvalue)


def rounded(clips: pd.DataFrame) -> pd.DataFrame:
    """The compared columns as float64, durations to the hundredth of a second."""
    return clips[list(COLUMNS)].astype(np.float64).round(_DECIMALS)


def compare(reference: pd.DataFrame, window: pd.DataFrame, false_alarm_rate: float) -> dict[str, ColumnDrift]:
    """Test every column of ``window`` against ``reference`` (both as :func:`rounded` returns them).

    A column with one and the same value throughout both carries nothing: it is left out and does not count
    in the correction. Returns the tested columns in the order of :data:`COLUMNS`.
    """
    names = [name for name in COLUMNS if pd.concat([reference[name], window[name]]).nunique() > 1]
    return {name: _test(reference[name], window[name], false_alarm_rate / len(names)) for name in names}


def _test(reference: pd.Series, window: pd.Series, threshold: float) -> ColumnDrift:
    reference = reference.dropna()  # the model's own values are known only of clips its network was not trained on
    usual = usual_value(reference)
    if usual is None:
        p_value = ks_p_value(reference, window)
        return ColumnDrift(
            p_value, threshold, p_value <= threshold, "ks", float(reference.median()), float(window.median())
        )
    at_usual = (reference == usual).to_numpy(), (window == usual).to_numpy()
    p_value = match_share_p_value(*at_usual)
    shares = float(at_usual[0].mean()), float(at_usual[1].mean())
    return ColumnDrift(p_value, threshold, p_value <= threshold, "match share", *shares, usual=usual)
