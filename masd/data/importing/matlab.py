"""MATLAB's .mat up to version 7.2, read with SciPy: vectors and matrices, with names as in CWRU's data or others."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from masd.data.importing.channel import Channel, Fact, ImportRefusedError, check_size
from masd.data.importing.rates import rate_of_times

LEAST_SAMPLES = 256
"""A shorter vector is a parameter, not a recording."""

_CWRU = re.compile(r"X?(?P<record>\d+)_?(?P<channel>[A-Za-z]+)_time")
_CWRU_SPEED = re.compile(r"X?(?P<record>\d+)_?RPM")
_RATE_NAMES = ("fs", "sr", "rate", "samplerate", "sample_rate", "samplingrate", "sampling_rate", "sampling_frequency")
_TIME_NAMES = ("t", "time", "times", "zeit")


def read_matlab(path: Path) -> list[Channel]:
    """Vectors, and the columns of matrices. Structures and cells are left out.

    ``X097_DE_time`` is the channel ``DE``, ``X097RPM`` its attribute ``rpm``. The sample rate is a number named ``fs``
    or similar, or comes from a vector named ``t`` or ``time``.
    """
    from scipy.io import loadmat, whosmat

    with path.open("rb") as file:
        if b"MATLAB 7.3" in file.read(128):
            raise ImportRefusedError("it is a MATLAB file of version 7.3 (HDF5); save it again with save(..., '-v7')")
    listed = [(name, shape) for name, shape, kind in whosmat(str(path)) if kind not in ("struct", "cell", "object")]
    check_size(0, sum(int(np.prod(shape, dtype=object)) for _, shape in listed))
    values = loadmat(str(path), variable_names=[name for name, _ in listed])
    numeric = {name: values[name] for name, _ in listed if _is_numeric(values.get(name))}
    rate, tolerance = _rate(numeric)
    vectors = {name: value for name, value in numeric.items() if value.size >= LEAST_SAMPLES}
    channels: list[Channel] = []
    for name, value in vectors.items():
        if name.lower() in _TIME_NAMES:
            continue
        columns = value.reshape(-1, 1) if 1 in value.shape else value if value.shape[0] >= value.shape[1] else value.T
        check_size(len(channels) + columns.shape[1], 0)
        cwru = _CWRU.fullmatch(name)
        for number, column in enumerate(columns.T):
            label = cwru["channel"] if cwru else name if columns.shape[1] == 1 else f"{name}_{number}"
            attributes = _attributes(numeric, cwru["record"] if cwru else None)
            samples = column.astype(np.float32)
            channels.append(Channel(label, samples, rate, None, tolerance, attributes={"variable": name, **attributes}))
    return channels


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.ndim == 2 and value.size > 0


def _rate(numeric: dict[str, Any]) -> tuple[float | None, float]:
    for name, value in numeric.items():
        if name.lower() in _RATE_NAMES and value.size == 1:
            return float(value.item()), 1e-5
    for name, value in numeric.items():
        if name.lower() in _TIME_NAMES and value.size >= LEAST_SAMPLES and 1 in value.shape:
            return rate_of_times(value.ravel().astype(np.float64))
    return None, 1e-5


def _attributes(numeric: dict[str, Any], record: str | None) -> dict[str, Fact]:
    found: dict[str, Fact] = {}
    for name, value in numeric.items():
        if value.size != 1 or name.lower() in _RATE_NAMES:
            continue
        speed = _CWRU_SPEED.fullmatch(name)
        if speed is None:
            found[name] = float(value.item())
        elif record is None or speed["record"] == record:
            found["rpm"] = float(value.item())
    return found
