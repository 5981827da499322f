"""Events of the alarm rule, as the staff of a plant get them."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["watch", "alarm", "normal", "acknowledged", "silent", "heard"]
"""``normal``: a watch or an alarm is over. ``silent``: no clip for longer than usual; ``heard``: a clip again."""


@dataclass(frozen=True)
class Event:
    """One change of a machine's state.

    :param time: of the clip that made the change (ISO 8601, UTC).
    :param since: when the change in the scores began, estimated from the scores.
    :param evidence: for an alarm; a normal machine reaches this evidence at most once in so many clips.
    :param worst: request ids of the clips with the highest scores since then, highest first.
    :param calibration: how many normal scores the clips were compared with.
    :param reason: a short code, or the text of the acknowledgement.
    """

    kind: Kind
    machine_type: str
    model_version: str
    time: str
    since: str
    clips: int
    evidence: float = 0.0
    asked: float = 0.0
    worst: tuple[str, ...] = ()
    calibration: int = 0
    reason: str = ""
    actor: str = ""
    id: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        content = {name: value for name, value in asdict(self).items() if name != "id"}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "id", digest[:32])  # of the content: sent twice, it is the same event

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "worst": list(self.worst)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Event":
        return cls(**{**content, "worst": tuple(content["worst"])})
