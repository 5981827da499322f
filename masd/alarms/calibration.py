"""The normal scores that new scores are ranked among."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from masd.errors import MasdError

LEAST = 20
"""Scores of a domain with fewer normal scores are ranked among those of all domains."""

ALL = "all"
"""The key of scores without a domain."""


class Calibration:
    """Normal scores by domain, sorted. More can be added until a domain has ``most``."""

    def __init__(self, scores: Mapping[str, Iterable[float]], most: int) -> None:
        """:raises MasdError: fewer than :data:`LEAST` scores, or one that is not a finite number."""
        self._own = {domain: sorted(map(float, values)) for domain, values in scores.items()}
        self._all = sorted(score for values in self._own.values() for score in values)
        self.most = most
        if len(self._all) < LEAST:
            raise MasdError(
                f"{len(self._all)} normal scores are too few: alarms need at least {LEAST}; calibrate the version "
                "with clips from the inference log (masd registry calibrate)"
            )
        if not np.isfinite(self._all).all():
            raise MasdError(
                "the calibration contains a score that is not a finite number; calibrate the version again with masd "
                "registry calibrate"
            )

    def rank(self, score: float, domain: str) -> tuple[int, int]:
        """How many normal scores of the domain are at least as high, and how many there are."""
        pool = self._pool(domain)
        return len(pool) - bisect_left(pool, score), len(pool)

    def learn(self, score: float, domain: str) -> None:
        """Add a normal score, unless the domain has enough."""
        domain = ALL if ALL in self._own else domain
        own = self._own.setdefault(domain, [])
        if len(own) < self.most:
            insort(own, score)
            insort(self._all, score)

    def full(self, domain: str) -> bool:
        """Whether the domain takes no more scores."""
        return len(self._own.get(ALL if ALL in self._own else domain, ())) >= self.most

    def sizes(self) -> dict[str, int]:
        return {domain: len(scores) for domain, scores in self._own.items()}

    def to_dict(self) -> dict[str, Any]:
        return {"most": self.most, "scores": self._own}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        return cls(content["scores"], int(content["most"]))

    def _pool(self, domain: str) -> list[float]:
        own = self._own.get(domain, [])
        return own if len(own) >= LEAST else self._all
