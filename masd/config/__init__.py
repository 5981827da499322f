"""Typed settings: one YAML file, one place of defaults."""

from masd.config.settings import (
    ALL_SYSTEMS,
    PAPER_SYSTEMS,
    SCHEDULES,
    AudioSettings,
    DataSettings,
    DetectionSettings,
    DriftSettings,
    GateSettings,
    LossName,
    NetworkSettings,
    ServingSettings,
    Settings,
    SystemName,
    TrainingSettings,
    WindowSettings,
)

__all__ = [
    "ALL_SYSTEMS",
    "PAPER_SYSTEMS",
    "SCHEDULES",
    "AudioSettings",
    "DataSettings",
    "DetectionSettings",
    "DriftSettings",
    "GateSettings",
    "LossName",
    "NetworkSettings",
    "ServingSettings",
    "Settings",
    "SystemName",
    "TrainingSettings",
    "WindowSettings",
]
