"""The score of a clip that nothing has scored, for tests of what is done with scores."""

from masd.audio.signals import Signals
from masd.detection.result import ClipScore, Segment

SCORE = ClipScore(
    machine_type="fan",
    model_version="3",
    system="knn-feature",
    score=0.5,
    threshold=0.4,
    domain="source",
    duration_s=10.0,
    segments=(Segment(0.0, 2.0, 0.5),),
    reconstruction_error=1.0,
    systems={"knn-feature": 0.5},
    signals=Signals(-20.0, 0.0, 1000.0, 16_000, (-8.0,) * 6),
)
