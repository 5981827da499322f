"""The time of a training step, compared with the processor's peak arithmetic."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from bench.timing import line, seconds
from masd.config import SCHEDULES, Settings
from masd.data.store import FeatureStore
from masd.learning.augment import mixup, spec_augment
from masd.learning.batches import BalancedSampler
from masd.learning.checkpoint import TrainState
from masd.learning.classes import label_clips
from masd.learning.device import choose_device, training_dtype
from masd.learning.freed_memory import keep_freed_memory
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation
from masd.learning.train import train_step

ROUNDS = 7


def measure_training(store: FeatureStore, settings: Settings) -> None:
    """Print one line per figure."""
    device = choose_device("auto")
    if device.type == "cpu":
        keep_freed_memory()
    dtype = training_dtype(settings.training, device)
    names, labels = label_clips([store])
    rng = np.random.default_rng(0)
    resident = device if device.type == "cuda" else None
    sampler = BalancedSampler(
        [store], [Normalisation.fit(store)], labels, settings.training, settings.windows, rng, resident=resident
    )

    def fresh() -> TrainState:
        torch.manual_seed(0)
        network = ConvolutionalAutoEncoder(settings.network, len(names))
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return TrainState(network, torch.optim.Adam(network.parameters(), 1e-3, fused=True), rng)

    def step(state: TrainState, stage: int, dtype: torch.dtype) -> Callable[[], object]:
        return lambda: float(
            train_step(state, sampler, settings.training, stage, len(names), dtype, device)["total"]
        )  # reading the loss waits for the device

    state = fresh()
    batch = sampler.draw(with_noise=True)
    flops = 3 * len(batch.y) * _forward_flops(state.network, settings)
    peak = _matmul_flops_per_second(device, dtype)
    line("draw a batch", draw := seconds(lambda: sampler.draw(with_noise=True)))
    x = batch.x.to(device, memory_format=torch.channels_last)
    machine = (~batch.is_noise).nonzero()[:, 0].to(device)
    y = batch.y.to(device)

    def augment() -> float:
        mixed, *_ = mixup(spec_augment(x, settings.training)[machine], y[machine], len(names))
        return float(mixed[0, 0, 0, 0])

    line("SpecAugment and mixup", augmented := seconds(augment))
    outside = statistics.median(draw) + statistics.median(augmented)
    for stage in (1, 2):
        line(f"training step, stage {stage}, {dtype}", times := seconds(step(state, stage, dtype), ROUNDS))
        median = statistics.median(times)
        print(
            f"    {len(batch.y) / median:.0f} windows/s; outside forward, backward and optimiser at most "
            f"{outside / median:.1%}; convolutions need {flops / 1e9:.1f} GFLOP (forward and backward), "
            f"{flops / median / peak:.1%} of the measured matrix-product ceiling of {peak / 1e9:.0f} GFLOP/s"
        )
    line("convolutions alone, forward and backward", alone := seconds(_convolutions(fresh().network, x, dtype), ROUNDS))
    print(f"    a step of stage 2 takes {median / statistics.median(alone):.2f} times as long")
    variants = {"eager": step(state, 2, dtype), "eager, float32": step(fresh(), 2, torch.float32)}
    compiled = fresh()
    compiled.network.encoder.compile()
    compiled.network.decoder.compile()
    variants["torch.compile"] = step(compiled, 2, dtype)
    for name, times_default in _side_by_side(variants).items():
        print(f"stage 2 step, {name:16} {times_default:5.2f} times the time of the default (eager, {dtype})")
    for name, stages in SCHEDULES.items():
        steps = sum(stages)
        print(f"schedule {name}: {steps} steps, {steps * median / 3600:.1f} h for one machine here")


def _convolutions(network: ConvolutionalAutoEncoder, x: torch.Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """Every convolution of a step on a batch of its size, and nothing else: what a step cannot do without."""
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    layers: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor]] = []

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        given = torch.randn_like(inputs[0]).requires_grad_(inputs[0].shape[1] > 1)  # nobody needs the windows' gradient
        layers.append((module, given, torch.randn_like(output)))

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, kinds)]
    with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        network(x)
    for hook in hooks:
        hook.remove()

    def work() -> float:
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            for module, given, gradient in layers:
                module(given).backward(gradient)
        return float(next(network.parameters()).grad[0, 0, 0, 0])  # type: ignore[index]  # waits for the device

    return work


def _side_by_side(variants: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median time of each over the first one's, round by round, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for name in list(variants):
        try:
            for _ in range(4):  # both kinds of batch, mixed and not, are compiled before anything is timed
                variants[name]()
        except Exception as error:  # no C++ compiler, or a graph that this torch cannot compile
            print(f"{name}: not available here ({type(error).__name__})")
            del variants[name]
    for _ in range(rounds):
        for name, work in variants.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    first = next(iter(variants))
    return {name: statistics.median(times[name]) / statistics.median(times[first]) for name in variants}


def _matmul_flops_per_second(device: torch.device, dtype: torch.dtype, size: int = 1024) -> float:
    a = torch.randn(size, size, device=device).to(dtype)

    def product() -> float:
        return float((a @ a)[0, 0])  # reading one element waits for the device

    return 2 * size**3 / min(seconds(product))


def _forward_flops(network: ConvolutionalAutoEncoder, settings: Settings) -> int:
    """Multiply-adds of all convolutions for one window, counted twice."""
    total = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        kernel = int(np.prod(module.kernel_size))  # type: ignore[arg-type]
        # a transposed convolution spreads each input cell over the kernel, an ordinary one gathers for each output cell
        cells = inputs[0][0, 0] if isinstance(module, torch.nn.ConvTranspose2d) else output[0, 0]
        total += 2 * cells.numel() * kernel * inputs[0].shape[1] * output.shape[1]

    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, kinds)]
    device = next(network.parameters()).device
    with torch.inference_mode():
        network(torch.zeros(1, 1, settings.audio.n_mels, settings.windows.frames, device=device))
    for hook in hooks:
        hook.remove()
    return total
