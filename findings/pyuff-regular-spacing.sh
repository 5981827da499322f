#!/usr/bin/env bash
# pyuff 2.5.8 writes a regularly sampled signal as one whose sample rate cannot be read back.
#
# Guess: a set 58 that is written with its time axis `x` and the step `abscissa_inc` of a 51.2 kHz recording reads back
# with that step, so that the sample rate is 1 / abscissa_inc.
# Seen: without `abscissa_spacing` the writer takes 0 (uneven), puts the whole time axis into the file, and the reader gives
# abscissa_inc 0.0. With `abscissa_spacing` 1 (even) the step reads back, rounded to single precision as the format has it:
# 51199.87 Hz instead of 51200. A reader must take the rate from the axis where the step is 0, and snap it to a usual rate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pyuff==2.5.8' 'numpy==2.2.6'
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pyuff

RATE = 51_200
time = np.arange(1024) / RATE


def read_back(name: str, **spacing: int) -> dict:
    signal = {
        **{"type": 58, "func_type": 1, "rsp_node": 1, "rsp_dir": 1, "ref_node": 1, "ref_dir": 1, "id1": "", "id2": ""},
        **{"id3": "", "id4": "", "id5": "", "orddenom_spec_data_type": 0, "abscissa_min": 0.0, "abscissa_inc": 1 / RATE},
        **{"x": time, "data": np.sin(2 * np.pi * 1000 * time)},
        **spacing,
    }
    pyuff.UFF(name).write_sets([signal], "overwrite")
    return pyuff.UFF(name).read_sets(0)


uneven, even = read_back("default.uff"), read_back("even.uff", abscissa_spacing=1)
print("pyuff", version("pyuff"))
print("default:            abscissa_spacing", uneven["abscissa_spacing"], "abscissa_inc", uneven["abscissa_inc"])
print("abscissa_spacing=1: abscissa_spacing", even["abscissa_spacing"], "rate", 1 / even["abscissa_inc"])
print("rate from the axis of the default:", 1 / np.diff(uneven["x"]).mean())
assert uneven["abscissa_spacing"] == 0 and uneven["abscissa_inc"] == 0.0, "the default keeps the step now"
assert abs(1 / even["abscissa_inc"] - RATE) > 0.01, "the step keeps its precision now"
assert abs(1 / np.diff(uneven["x"]).mean() - RATE) < 1.0, "the axis does not give the rate"
PY
