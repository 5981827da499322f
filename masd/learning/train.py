"""Two-stage training (paper, section 2.3, eq. (5)): one network for one machine type, or for a whole fleet."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from masd.arrays import Integers
from masd.config import Settings, TrainingSettings
from masd.data.store import FeatureStore
from masd.learning.augment import mix, mixup, spec_augment
from masd.learning.batches import BalancedSampler, Batch
from masd.learning.calibration import calibration_rows
from masd.learning.checkpoint import TrainState, resume, save_checkpoint
from masd.learning.classes import NOISE, label_clips
from masd.learning.device import DeviceName, choose_device, training_dtype
from masd.learning.freed_memory import keep_freed_memory
from masd.learning.losses import classification_loss, contrastive_loss, reconstruction_loss
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation
from masd.learning.trained import TrainedNetwork, save_network
from masd.progress import Progress

log = logging.getLogger(__name__)


def train_network(
    stores: Sequence[FeatureStore],
    settings: Settings,
    out: Path,
    *,
    device: DeviceName = "auto",
    resume_from_checkpoint: bool = False,
    progress: Progress | None = None,
) -> None:
    """Train on the stores of one machine type or of several and write the network folder ``out``.

    Checkpoints are in ``<out>.checkpoints`` until ``out`` is complete. An interrupted run that is resumed continues
    with the same batches, so on the CPU it ends with the same weights as one that was never interrupted.

    :raises MasdError: no such device, or a checkpoint of other data or settings.
    """
    training, where = settings.training, choose_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    dtype = training_dtype(training, where)
    checkpoints = out.parent / f"{out.name}.checkpoints"
    if not resume_from_checkpoint:
        shutil.rmtree(checkpoints, ignore_errors=True)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    class_names, labels = label_clips(stores)
    normalisations = [Normalisation.fit(store) for store in stores]
    network = ConvolutionalAutoEncoder(settings.network, len(class_names))
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = TrainState(network, torch.optim.Adam(network.parameters(), training.learning_rate, fused=True), rng)
    set_aside = [calibration_rows(store, settings) for store in stores]
    resident = where if where.type == "cuda" else None
    drawn, units, drawn_labels, left_out = with_far_channels(stores, normalisations, labels, set_aside)
    if len(training.losses) > 1 and len(class_names) == 1 and not _noise(drawn, drawn_labels):
        log.warning(
            "%s: all training clips are of one class (no attributes, one domain, no noise alone), so the classification"
            " and contrastive losses have nothing to tell apart; prefer the default, detection.system=fused",
            stores[0].machine_type,
        )
    sampler = BalancedSampler(drawn, units, drawn_labels, training, settings.windows, rng, left_out, resident)
    fingerprint = _fingerprint(stores, settings)
    if resume_from_checkpoint and resume(state, checkpoints, fingerprint):
        log.info("resumed at step %d from %s", state.step, checkpoints)
    first, total = training.stages[0], sum(training.stages)
    recent: list[dict[str, torch.Tensor]] = []
    text = ""
    network.train()
    while state.step < total:
        stage = 1 if state.step < first else 2
        recent.append(train_step(state, sampler, training, stage, len(class_names), dtype, where))
        state.step += 1
        if state.step % training.checkpoint_every == 0 or state.step in (first, total):
            means = {name: float(torch.stack([step[name] for step in recent]).mean()) for name in recent[0]}
            state.history.append({"step": state.step, "stage": stage} | means)
            save_checkpoint(state, checkpoints, fingerprint)
            recent, text = [], " ".join(f"{name} {value:.3f}" for name, value in means.items())
        if progress:
            progress(state.step, total, text)
    trained = TrainedNetwork(
        network=network.cpu().eval(),
        normalisations={s.machine_type: n for s, n in zip(stores, normalisations, strict=True)},
        class_names=class_names,
        history=state.history,
        set_aside={
            store.machine_type: store.clips["name"].iloc[rows].tolist()
            for store, rows in zip(stores, set_aside, strict=True)
        },
    )
    save_network(trained, settings, out)
    shutil.rmtree(checkpoints, ignore_errors=True)


def with_far_channels(
    stores: Sequence[FeatureStore],
    normalisations: Sequence[Normalisation],
    labels: Sequence[Integers],
    set_aside: Sequence[Integers],
) -> tuple[list[FeatureStore], list[Normalisation], list[Integers], list[Integers]]:
    """The arguments, and behind them the reference channel of each store that has one: noise alone, at the same moments
    and in the unit of the near channel, so a negative of the contrastive loss for every clip.
    """
    heard = [number for number, store in enumerate(stores) if store.far is not None]
    far = [stores[number].far_as_noise() for number in heard]
    return (
        [*stores, *far],
        [*normalisations, *(normalisations[number] for number in heard)],
        [*labels, *(np.full(len(store.clips), NOISE) for store in far)],
        [*set_aside, *(set_aside[number] for number in heard)],
    )


def _noise(stores: Sequence[FeatureStore], labels: Sequence[Integers]) -> bool:
    """Whether there is noise alone to train on."""
    return any(
        bool(((label == NOISE) & (store.clips["split"] != "test").to_numpy()).any())
        for store, label in zip(stores, labels, strict=True)
    )


def without_network(stores: Sequence[FeatureStore], settings: Settings, out: Path) -> None:
    """Write the network folder ``out`` of a system that needs no network: it has each machine's normalisation only."""
    normalisations = {store.machine_type: Normalisation.fit(store) for store in stores}
    set_aside: dict[str, list[str]] = {machine: [] for machine in normalisations}
    save_network(TrainedNetwork(None, normalisations, [], [], set_aside), settings, out)


def train_step(
    state: TrainState,
    sampler: BalancedSampler,
    training: TrainingSettings,
    stage: int,
    n_classes: int,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """One optimiser step; returns the value of each loss, without waiting for the device."""
    contrast = stage == 2 and "contrastive" in training.losses
    batch = sampler.draw(with_noise=contrast)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        losses = _losses(state.network, batch, training, stage, n_classes, device)
    state.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


def _losses(
    network: ConvolutionalAutoEncoder,
    batch: Batch,
    training: TrainingSettings,
    stage: int,
    n_classes: int,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """Eq. (5), or L_recon alone in stage 1.

    On a mixed batch the contrastive term sees the unmixed windows (a mixture has no class of its own), which costs
    a second pass of the encoder. Noise-only windows take part in nothing else.
    """
    classify = stage == 2 and "classification" in training.losses
    contrast = stage == 2 and "contrastive" in training.losses
    x = batch.x.to(device, memory_format=torch.channels_last)
    y, is_noise = batch.y.to(device), batch.is_noise.to(device)
    machine = (~batch.is_noise).nonzero()[:, 0].to(device)  # found where the flags are made: nothing waits for a GPU
    augmented = spec_augment(x, training)
    mixed = bool(torch.rand(()) < training.mixup_probability)
    if mixed:
        target, labels, partner, weight = mixup(x[machine], y[machine], n_classes)
        x_hat, z = network(mix(augmented[machine], partner, weight))
        z_contrast = network.embed(augmented) if contrast else z
    else:
        latent = network.encoder(augmented)
        z_contrast = network.embed_latent(latent)
        x_hat, z = network.decoder(latent[machine]), z_contrast[machine]
        target, labels = x[machine], y[machine]
    losses = {"reconstruction": reconstruction_loss(target, x_hat.float())}
    total = losses["reconstruction"]
    if classify:
        losses["classification"] = classification_loss(network.classify(z).float(), labels)
        total = total + training.alpha * losses["classification"]
    if contrast:
        losses["contrastive"] = contrastive_loss(z_contrast, y, is_noise, training.temperature)
        total = total + training.beta * losses["contrastive"]
    return losses | {"total": total}


def _fingerprint(stores: Sequence[FeatureStore], settings: Settings) -> str:
    relevant = settings.model_dump(mode="json", include={"seed", "audio", "windows", "network", "training"})
    parts = [json.dumps(relevant, sort_keys=True), *(store.fingerprint for store in stores)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
