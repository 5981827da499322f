"""Which clips a simulated machine has: the challenge's splits, domains and counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from masd.data.clips import Split
from masd.data.simulation.machine import Domain
from masd.errors import MasdError

Condition = Literal["normal", "anomaly"]

TARGET_TRAIN = 10
"""Training clips of the target domain in the challenge."""
_LEAST_TARGET = 3  # what neighbour-based over-sampling needs


class SimulationError(MasdError, ValueError):
    """A simulation that is not possible with these arguments."""


@dataclass(frozen=True)
class PlannedClip:
    """One clip by its place in the data set, from which its random numbers derive."""

    split: Split
    domain: Domain
    condition: Condition
    index: int
    """Counts within split, domain and condition."""

    @property
    def identity(self) -> str:
        """The values that identify the clip among those of its machine."""
        return f"{self.split}/{self.domain}/{self.condition}/{self.index}"


@dataclass(frozen=True)
class Plan:
    """The number of clips of each split.

    :raises SimulationError: a count is too small, or not a multiple of 4.
    """

    train: int
    test: int
    supplemental: int

    def __post_init__(self) -> None:
        if self.train <= _LEAST_TARGET:
            raise SimulationError(
                f"train is {self.train}, but must be at least {_LEAST_TARGET + 1}: "
                f"{_LEAST_TARGET} target clips and one source clip"
            )
        if self.test < 4 or self.test % 4:
            raise SimulationError(
                f"test is {self.test}, but must be a multiple of 4 and at least 4: "
                "source and target, each normal and anomalous"
            )
        if self.supplemental < 0:
            raise SimulationError(f"supplemental is {self.supplemental}, but must be 0 or more")

    @property
    def target_train(self) -> int:
        """Ten as in the challenge, or a sixth of a small set, but never fewer than three."""
        return min(TARGET_TRAIN, max(_LEAST_TARGET, self.train // 6))

    def __len__(self) -> int:
        return self.train + self.test + self.supplemental

    def clips(self) -> Iterator[PlannedClip]:
        """Every clip in the order in which they are written."""
        for index in range(self.train - self.target_train):
            yield PlannedClip("train", "source", "normal", index)
        for index in range(self.target_train):
            yield PlannedClip("train", "target", "normal", index)
        for domain in get_args(Domain):
            for condition in get_args(Condition):
                for index in range(self.test // 4):
                    yield PlannedClip("test", domain, condition, index)
        for index in range(self.supplemental):
            yield PlannedClip("supplemental", "source", "normal", index)
