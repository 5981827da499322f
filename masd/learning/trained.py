"""A trained network on disk: weights, the normalisation of each machine, classes, training history."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from masd.config import NetworkSettings, Settings
from masd.errors import MasdError, one_line
from masd.files import json_text, replacing_folder
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation


@dataclass(frozen=True)
class TrainedNetwork:
    """The result of training; ``network`` is in evaluation mode, and None where the system needs none.

    ``set_aside`` names, per machine, the training clips held out from the network's training
    (:mod:`masd.learning.calibration`); it is not stored in a bundle.
    """

    network: ConvolutionalAutoEncoder | None
    normalisations: dict[str, Normalisation]
    class_names: list[str]
    history: list[dict[str, float]]
    set_aside: dict[str, list[str]] = field(default_factory=dict)


def save_network(trained: TrainedNetwork, settings: Settings, out: Path) -> None:
    """Write the folder ``out``: ``network.safetensors``, ``network.json``, ``history.json``."""
    about = {
        "network": None if trained.network is None else settings.network.model_dump(mode="json"),
        "classes": trained.class_names,
        "set_aside": trained.set_aside,
    }
    with replacing_folder(out) as staged:
        save_file(network_tensors(trained, list(trained.normalisations)), staged / "network.safetensors")
        (staged / "network.json").write_text(json_text(about, indent=2), encoding="utf-8")
        (staged / "history.json").write_text(json_text(trained.history), encoding="utf-8")


def load_network(folder: Path) -> TrainedNetwork:
    """:raises MasdError: not a network folder."""
    try:
        about = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        settings = None if about["network"] is None else NetworkSettings(**about["network"])
        restored = restore_network(load_file(folder / "network.safetensors"), settings, about["classes"], history)
        return replace(restored, set_aside=about["set_aside"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise MasdError(
            f"{folder}: is not a trained network ({one_line(error, 160)}); run the training again from the start"
        ) from error


def network_tensors(trained: TrainedNetwork, machines: list[str]) -> dict[str, torch.Tensor]:
    """Weights under ``network.``, if there are any, and ``normalisation.<machine>.mean`` / ``.scale`` of the given
    machines.
    """
    weights = {} if trained.network is None else trained.network.state_dict()
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in weights.items()}
    for machine in machines:
        normalisation = trained.normalisations[machine]
        tensors[f"normalisation.{machine}.mean"] = torch.from_numpy(normalisation.mean)
        tensors[f"normalisation.{machine}.scale"] = torch.tensor(normalisation.scale, dtype=torch.float64)
    return tensors


def restore_network(
    tensors: dict[str, torch.Tensor],
    settings: NetworkSettings | None,
    class_names: list[str],
    history: list[dict[str, Any]],
) -> TrainedNetwork:
    """The reverse of :func:`network_tensors`; without ``settings`` there are no weights.

    :raises RuntimeError: tensors that do not fit the settings.
    """
    network = None if settings is None else _network(tensors, settings, len(class_names))
    own = [name for name in tensors if name.startswith("normalisation.") and name.endswith(".mean")]
    machines = [name.removeprefix("normalisation.").removesuffix(".mean") for name in own]
    normalisations = {
        machine: Normalisation(
            np.asarray(tensors[f"normalisation.{machine}.mean"].numpy()),
            float(tensors[f"normalisation.{machine}.scale"]),
        )
        for machine in machines
        if f"normalisation.{machine}.scale" in tensors
    }
    return TrainedNetwork(network, normalisations, class_names, history)


def _network(tensors: dict[str, torch.Tensor], settings: NetworkSettings, n_classes: int) -> ConvolutionalAutoEncoder:
    network = ConvolutionalAutoEncoder(settings, n_classes)
    network.load_state_dict(
        {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()
