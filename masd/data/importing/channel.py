"""The common form of all formats: the channels of one recording, in their unit."""

from dataclasses import dataclass, field

import numpy as np

from masd.arrays import Array
from masd.errors import MasdError

Fact = str | float | int
"""An attribute of a recording, such as its speed in rpm."""

MAX_CHANNELS = 256
MAX_SAMPLES = 500_000_000
"""The most samples of all channels of a file together: 2 GB as float32, over 80 minutes of two channels at 51.2 kHz."""

MAX_FACTS = 100
MAX_TEXT = 200


class ImportRefusedError(MasdError):
    """A file that cannot be imported, and why."""


@dataclass(frozen=True)
class Channel:
    """``samples`` [n] float32 in ``unit`` (None where the file names none); ``rate_hz`` as the file states it, or None.

    ``tolerance`` is the relative error that the stated rate may have; ``scaling`` says what was done to the samples.
    """

    name: str
    samples: Array
    rate_hz: float | None = None
    unit: str | None = None
    tolerance: float = 1e-5
    scaling: str = "none"
    attributes: dict[str, Fact] = field(default_factory=dict)


def check_size(channels: int, samples: int) -> None:
    """Check the sizes that a file states, before its samples are read.

    :raises ImportRefusedError: too many channels or samples.
    """
    if channels > MAX_CHANNELS:
        raise ImportRefusedError(
            f"the file has {channels} channels, but at most {MAX_CHANNELS} can be imported at once; export it in parts"
        )
    if samples > MAX_SAMPLES:
        raise ImportRefusedError(
            f"the file has {samples} samples, but at most {MAX_SAMPLES} can be imported at once; cut it"
        )


def facts(values: "dict[str, object]") -> dict[str, Fact]:
    """Texts and numbers among ``values``, limited in number and length, to be stored with the clips."""
    found: dict[str, Fact] = {}
    for name, value in list(values.items())[:MAX_FACTS]:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):
            found[str(name)[:MAX_TEXT]] = value.strip()[:MAX_TEXT]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[str(name)[:MAX_TEXT]] = value
    return found
