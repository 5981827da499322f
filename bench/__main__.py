"""``make bench``: what a training step and a scored clip cost here, beside what the processor's arithmetic allows.

Everything is measured in one run, so ratios hold even where the machine is shared; each figure is the median of several
rounds with its minimum and maximum.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from masd.config import Settings
from masd.data.simulation import simulate
from masd.data.store import FeatureStore
from masd.detection.scorer import Scorer
from masd.learning.augment import mixup, spec_augment
from masd.learning.batches import BalancedSampler
from masd.learning.checkpoint import TrainState
from masd.learning.classes import label_clips
from masd.learning.device import choose_device, training_dtype
from masd.learning.network import ConvolutionalAutoEncoder
from masd.learning.normalisation import Normalisation
from masd.learning.train import train_step
from masd.lifecycle import steps
from masd.lifecycle.bundle import load_bundle

MACHINE = "fan"
ROUNDS = 7


def main() -> None:
    """Print one line per figure."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    settings = Settings.load(None, ["training.stage1_epochs=1", "training.stage2_epochs=1"])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        simulate(root / "data", [MACHINE], train=60, test=8, seconds=10.0)
        steps.featurize(root / "data", [MACHINE], settings, root / "features")
        steps.train(root / "features", [MACHINE], settings, root / "network")
        steps.fit_detectors(root / "features", MACHINE, root / "network", settings, root / "bundle")
        _training(FeatureStore.open(root / "features" / MACHINE), settings)
        _scoring(load_bundle(root / "bundle").scorer, sorted((root / "data" / MACHINE / "test").glob("*.wav")))


def _training(store: FeatureStore, settings: Settings) -> None:
    device = choose_device("auto")
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
    _line("draw a batch", draw := _seconds(lambda: sampler.draw(with_noise=True)))
    x = batch.x.to(device, memory_format=torch.channels_last)
    machine = (~batch.is_noise).nonzero()[:, 0].to(device)
    y = batch.y.to(device)

    def augment() -> float:
        mixed, *_ = mixup(spec_augment(x, settings.training)[machine], y[machine], len(names))
        return float(mixed[0, 0, 0, 0])

    _line("SpecAugment and mixup", augmented := _seconds(augment))
    outside = statistics.median(draw) + statistics.median(augmented)
    for stage in (1, 2):
        _line(f"training step, stage {stage}, {dtype}", times := _seconds(step(state, stage, dtype)))
        median = statistics.median(times)
        print(
            f"    {len(batch.y) / median:.0f} windows/s; outside forward, backward and optimiser at most "
            f"{outside / median:.1%}; convolutions need {flops / 1e9:.1f} GFLOP (forward and backward), "
            f"{flops / median / peak:.1%} of the measured matrix-product ceiling of {peak / 1e9:.0f} GFLOP/s"
        )
    variants = {"eager": step(state, 2, dtype), "eager, float32": step(fresh(), 2, torch.float32)}
    compiled = fresh()
    compiled.network.encoder.compile()
    compiled.network.decoder.compile()
    variants["torch.compile"] = step(compiled, 2, dtype)
    for name, seconds in _side_by_side(variants).items():
        print(f"stage 2 step, {name:16} {seconds:5.2f} times the time of the default (eager, {dtype})")
    epochs, clips, frames = 350, 1000, 313
    steps = epochs * round(clips * frames / settings.windows.frames / 112)
    print(
        f"350 epochs, seven machines of 1,000 clips of 10 s: {7 * steps} steps, {7 * steps * median / 3600:.1f} h here"
    )


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


def _scoring(scorer: Scorer, clips: list[Path]) -> None:
    torch.set_num_threads(1)
    clip = clips[0]
    recording = scorer.decode(clip)
    log_mel = scorer.log_mel(recording.samples)
    features = scorer.extract([log_mel])[0]
    print(f"one clip of {recording.duration_s:g} s on one thread:")
    _line("  decode", _seconds(lambda: scorer.decode(clip)))
    _line("  high-pass and log-mel", _seconds(lambda: scorer.log_mel(recording.samples)))
    _line("  network", _seconds(lambda: scorer.extract([log_mel])))
    _line("  detectors (all five systems)", _seconds(lambda: scorer.detectors.score(features)))
    _line("  all, decoded clip to answer", _seconds(lambda: scorer.score([recording])))


def _seconds(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def _line(name: str, times: list[float]) -> None:
    low, middle, high = min(times) * 1e3, statistics.median(times) * 1e3, max(times) * 1e3
    print(f"{name:45} {middle:9.2f} ms  ({low:.2f} .. {high:.2f})", flush=True)


def _matmul_flops_per_second(device: torch.device, dtype: torch.dtype, size: int = 1024) -> float:
    a = torch.randn(size, size, device=device).to(dtype)

    def product() -> float:
        return float((a @ a)[0, 0])  # reading one element waits for the device

    return 2 * size**3 / min(_seconds(product))


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


if __name__ == "__main__":
    main()
