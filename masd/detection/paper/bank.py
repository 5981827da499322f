"""What the detectors of one domain have in common."""

from typing import ClassVar, Literal, Protocol, Self

from masd.arrays import Array, Floats, Tensors
from masd.config import DetectionSettings

DomainName = Literal["source", "target"]


class Bank(Protocol):
    """A detector of one domain, fitted on ``fewest`` vectors or more."""

    fewest: ClassVar[int]

    @classmethod
    def of_domain(cls, vectors: Array, domain: DomainName, settings: DetectionSettings, seed: int) -> Self:
        """Fit on training vectors ``[n, d + 1]`` of one domain."""

    def score(self, vectors: Array) -> Floats:
        """``[n, d + 1]`` -> ``[n]``, larger is more anomalous."""

    def tensors(self) -> Tensors:
        """What a bundle keeps."""

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        """The reverse of :meth:`tensors`; :raises KeyError: where one is missing."""
