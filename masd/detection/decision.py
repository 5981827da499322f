"""The rule that turns the score of a clip into a decision."""

from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from masd.arrays import Mask


@overload
def flagged(scores: float, threshold: float) -> bool: ...
@overload
def flagged(scores: "pd.Series[Any]", threshold: float) -> "pd.Series[bool]": ...
@overload
def flagged(scores: npt.NDArray[np.floating[Any]], threshold: float) -> Mask: ...
def flagged(scores: Any, threshold: float) -> Any:
    """Whether a score, or each of many, is anomalous: above the threshold, not equal to it. NaN is not anomalous."""
    return scores > threshold
