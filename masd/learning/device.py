"""The device and the number format of the network."""

from pathlib import Path
from typing import Literal

import torch

from masd.config import TrainingSettings
from masd.errors import MasdError

DeviceName = Literal["auto", "cpu", "cuda"]


def choose_device(name: DeviceName) -> torch.device:
    """:raises MasdError: the device is ``cuda`` and there is no CUDA device."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise MasdError("--device cuda: torch sees no CUDA device; use --device auto or cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def training_dtype(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """The autocast type: bfloat16 halves a training step where the processor computes in it, and is emulated
    elsewhere.
    """
    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
