"""Settings that train a network in seconds, and the normalisation of the smallest network."""

import numpy as np

from masd.learning.normalisation import Normalisation

TINY = {
    "network": {"channels": (4, 8, 8, 16), "embedding_dim": 16},
    "training": {
        "stage1_steps": 1,
        "stage2_steps": 1,
        "batch_source": 16,
        "batch_target": 8,
        "batch_supplemental": 8,
        "checkpoint_every": 1,
    },
    "detection": {"latent": True},
    "gate": {"bootstrap_samples": 50, "baseline_epochs": 3},
}
TINY_OVERRIDES = [
    "network.channels=[4,8,8,16]",
    "network.embedding_dim=16",
    "training.stage1_steps=1",
    "training.stage2_steps=1",
    "training.batch_source=16",
    "training.batch_target=8",
    "training.batch_supplemental=8",
    "training.checkpoint_every=1",
    "detection.latent=true",
    "gate.bootstrap_samples=50",
    "gate.baseline_epochs=3",
]

SMALL_NORMALISATION = Normalisation(np.linspace(-50, -30, 16).astype(np.float32), 4.0)
