"""Training state on disk: complete checkpoints only, without pickle.

A checkpoint is a folder ``step-001200`` with ``state.safetensors`` (weights, optimiser moments, torch's generator) and
``state.json`` (step, history, numpy's generator, a fingerprint of what is being trained). It appears by a rename, so a
process killed at any moment leaves the previous one.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from masd.errors import MasdError
from masd.files import replacing_folder
from masd.learning.network import ConvolutionalAutoEncoder


@dataclass
class TrainState:
    """All that training changes; what it is saved from and resumed into."""

    network: ConvolutionalAutoEncoder
    optimizer: torch.optim.Adam
    rng: np.random.Generator
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(state: TrainState, folder: Path, fingerprint: str) -> None:
    """Write ``folder/step-NNNNNN`` and remove the older ones."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(tensor) for name, tensor in moments.items()}
    tensors["generator"] = torch.get_rng_state()
    about = {
        "fingerprint": fingerprint,
        "step": state.step,
        "history": state.history,
        "rng": state.rng.bit_generator.state,
    }
    with replacing_folder(folder / f"step-{state.step:06d}") as staged:
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
            staged / "state.safetensors",
        )
        (staged / "state.json").write_text(json.dumps(about), encoding="utf-8")
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older)


def resume(state: TrainState, folder: Path, fingerprint: str) -> bool:
    """Load the newest checkpoint into ``state``; False where there is none.

    :raises MasdError: the checkpoint belongs to other data or settings, or cannot be read.
    """
    found = _checkpoints(folder)
    if not found:
        return False
    try:
        about = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(found[-1] / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise MasdError(f"{found[-1]}: unreadable checkpoint ({error}); remove it or train without --resume") from error
    if about["fingerprint"] != fingerprint:
        raise MasdError(f"{found[-1]}: made with other data or settings; train without --resume to start again")
    state.network.load_state_dict(_part(tensors, "network."))
    optimizer = state.optimizer.state_dict()
    moments: dict[int, dict[str, Any]] = {}
    for name, tensor in _part(tensors, "optimizer.").items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = tensor
    state.optimizer.load_state_dict({"state": moments, "param_groups": optimizer["param_groups"]})
    for parameter, of_parameter in state.optimizer.state.items():
        for moment in ("exp_avg", "exp_avg_sq"):  # fused Adam walks memory: moments must be laid out as their parameter
            of_parameter[moment] = torch.empty_like(parameter).copy_(of_parameter[moment]).detach()
    torch.set_rng_state(tensors["generator"])
    state.rng.bit_generator.state = about["rng"]
    state.step, state.history = about["step"], about["history"]
    return True


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
