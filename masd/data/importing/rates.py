"""Sample rates: round a stated rate, and compute the rate of a column of times."""

import numpy as np

from masd.arrays import Floats
from masd.data.importing.channel import ImportRefusedError

KNOWN_RATES = tuple(
    sorted(
        {
            *(8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
            *(176_400, 192_000, 384_000),  # sound cards
            *(1_000, 2_000, 2_500, 4_000, 5_000, 10_000, 20_000, 25_000, 40_000, 50_000, 100_000, 200_000, 250_000),
            *(12_800 * 2**step // 8 for step in range(9)),  # analysers: 1.6, 3.2, ... 12.8, 25.6, 51.2 ... 409.6 kHz
            *(2**power for power in range(10, 19)),
            *(10_240 * 2**step // 4 for step in range(6)),
        }
    )
)
LEAST_RATE, MOST_RATE = 1_000, 400_000
"""The sample rates that masd reads, in Hz."""


def whole_rate(stated: float, tolerance: float = 1e-5) -> int:
    """The rate in whole Hz, which a WAV file needs: a known rate within the relative ``tolerance``, else rounded.

    UFF58 keeps the time of a sample with six digits, so that 51,200 Hz come back as 51,199.87.

    :raises ImportRefusedError: not a number, or outside the range that masd reads.
    """
    if not LEAST_RATE * (1 - tolerance) <= stated <= MOST_RATE * (1 + tolerance):
        raise ImportRefusedError(
            f"its sample rate is {stated:g} Hz, but masd reads {LEAST_RATE} to {MOST_RATE} Hz; resample it"
        )
    nearest = min(KNOWN_RATES, key=lambda rate: abs(rate - stated))
    return nearest if abs(nearest - stated) <= tolerance * stated else round(stated)


def rate_of_times(times: Floats) -> tuple[float, float]:
    """The rate in Hz of ``times`` [n] in seconds, and its relative tolerance, which follows from how they are rounded.

    :raises ImportRefusedError: fewer than two, not in order, or with a gap of half a sample or more.
    """
    if len(times) < 2 or not np.isfinite(times).all() or times[-1] <= times[0]:
        raise ImportRefusedError(
            "its time column does not rise from the first row to the last; correct it, or remove it and give --rate"
        )
    duration = float(times[-1] - times[0])
    even = times[0] + np.arange(len(times)) * (duration / (len(times) - 1))
    off = np.abs(times - even)
    worst = int(off.argmax())
    if off[worst] >= 0.5 * duration / (len(times) - 1):
        raise ImportRefusedError(
            f"its times are not evenly spaced: row {worst + 1} is {off[worst]:.3g} s off; export it without gaps, "
            "or leave the times out and give --rate"
        )
    return (len(times) - 1) / duration, min(max(1e-5, 2 * float(off[worst]) / duration), 1e-3)
