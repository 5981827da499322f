"""Universal file format, data set 58, read with pyuff: every function of time."""

from pathlib import Path
from typing import Any

import numpy as np

from masd.data.importing.channel import Channel, ImportRefusedError, check_size, facts
from masd.data.importing.rates import rate_of_times

TIME_RESPONSE = 1
"""``func_type`` of a function of time; others are spectra and the like."""

_ATTRIBUTES = ("id1", "id2", "id3", "id4", "id5", "rsp_node", "rsp_dir", "rsp_ent_name", "version_num")


def read_uff58(path: Path) -> list[Channel]:
    """Channels are named ``node<number>_<direction>`` of the response, with a number if that is not unique."""
    from pyuff import UFF

    file = UFF(str(path))
    types = np.atleast_1d(file.get_set_types())
    numbers = [number for number, kind in enumerate(types) if int(kind) == 58]
    check_size(len(numbers), 0)
    sets: list[dict[str, Any]] = [file.read_sets(number) for number in numbers]
    sets = [one for one in sets if int(one["func_type"]) == TIME_RESPONSE]
    names = [f"node{one['rsp_node']}_{_direction(int(one['rsp_dir']))}" for one in sets]
    if len(set(names)) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names)]
    return [_channel(one, name) for one, name in zip(sets, names, strict=True)]


def _channel(one: dict[str, Any], name: str) -> Channel:
    samples = np.asarray(one["data"])
    if np.iscomplexobj(samples):
        raise ImportRefusedError(
            "its function of time is complex, but only real samples can be imported; export it as real"
        )
    check_size(1, samples.size)
    increment, tolerance = float(one.get("abscissa_inc") or 0.0), 1e-5
    rate = 1.0 / increment if increment > 0.0 else None
    if int(one.get("abscissa_spacing", 1)) == 0:  # each sample has its own time
        rate, tolerance = rate_of_times(np.asarray(one["x"], dtype=np.float64))
    return Channel(
        name=name,
        samples=samples.astype(np.float32),
        rate_hz=rate,
        unit=str(one.get("ordinate_axis_units_lab") or "").strip().replace("NONE", "") or None,
        tolerance=tolerance,
        attributes=facts({key: one[key] for key in _ATTRIBUTES if key in one}),
    )


def _direction(code: int) -> str:
    """The name of a direction: ``3`` is the third axis, ``-3`` its opposite; larger numbers are rotations."""
    axis = {0: "scalar", 1: "x", 2: "y", 3: "z", 4: "rx", 5: "ry", 6: "rz"}.get(abs(code), str(abs(code)))
    return f"minus_{axis}" if code < 0 else axis
