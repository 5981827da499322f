"""Simulated machines: the challenge's layout, equal levels, faults at their place, nothing half written."""

import csv
import dataclasses
import inspect
import json
import re
import wave
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import hilbert
from scipy.stats import ks_2samp

from masd.arrays import Array
from masd.data.simulation import MACHINES, SimulationError, simulate, writer
from masd.data.simulation.dataset import CATALOGUE
from masd.data.simulation.machine import HEALTHY, Fault, OperatingPoint
from masd.data.simulation.machines.bearing import BPFI, BPFO
from masd.data.simulation.machines.fan import BLADES
from masd.data.simulation.machines.gearbox import PINION_TEETH
from masd.data.simulation.plan import Plan, PlannedClip
from masd.data.simulation.recording import LEVEL_DBFS, PEAK, generator, record, set_level
from masd.data.simulation.signals import RATE, rms

NAME = re.compile(
    r"section_00_(?P<domain>source|target)_(?P<split>train|test)_(?P<condition>normal|anomaly)_(?P<index>\d{4})"
    r"_(?P<attributes>noAttribute|[^_]+_[^_]+(?:_[^_]+_[^_]+)*)\.wav"
)
CLEAN = re.compile(r"section_00_machine_source_\d{4}_(noAttribute|[^_]+_[^_]+(?:_[^_]+_[^_]+)*)\.wav")
NOISE = re.compile(r"section_00_noise_supplemental_normal_\d{4}\.wav")
WITHOUT_ATTRIBUTES = {"bearing", "slider", "ToyTrain"}
FAULTS = [(name, kind) for name, machine in CATALOGUE.items() for kind in machine.faults]
SIZES = {"train": 16, "test": 16, "seconds": 1.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    assert simulate(out, **SIZES, seed=3) == [out / name for name in MACHINES]
    return out


def wavs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.wav"))


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


# Layout


def test_the_default_is_the_challenges_size() -> None:
    default = {name: p.default for name, p in inspect.signature(simulate).parameters.items()}
    plan = Plan(default["train"], default["test"], default["train"] // 10)
    counts = Counter((clip.split, clip.domain, clip.condition) for clip in plan.clips())
    assert default["seconds"] == 10.0
    assert counts == {
        ("train", "source", "normal"): 990,
        ("train", "target", "normal"): 10,
        ("test", "source", "normal"): 50,
        ("test", "source", "anomaly"): 50,
        ("test", "target", "normal"): 50,
        ("test", "target", "anomaly"): 50,
        ("supplemental", "source", "normal"): 100,
    }


@pytest.mark.parametrize(("train", "target"), [(4, 3), (12, 3), (30, 5), (60, 10), (2000, 10)])
def test_a_small_set_keeps_a_few_target_clips(train: int, target: int) -> None:
    plan = Plan(train, 4, 0)
    assert plan.target_train == target
    assert sum(clip.split == "train" for clip in plan.clips()) == train


def test_the_seven_kinds_of_the_challenge() -> None:
    assert set(MACHINES) == {"fan", "gearbox", "bearing", "slider", "valve", "ToyCar", "ToyTrain"}
    assert all(len(machine.faults) >= 2 for machine in CATALOGUE.values())


@pytest.mark.parametrize("name", MACHINES)
def test_names_counts_and_format(data: Path, name: str) -> None:
    found = [NAME.fullmatch(path.name) for split in ("train", "test") for path in wavs(data / name / split)]
    assert all(found)
    counts = Counter((m["split"], m["domain"], m["condition"]) for m in found if m)
    assert counts == {
        ("train", "source", "normal"): 13,
        ("train", "target", "normal"): 3,
        **{("test", d, c): 4 for d in ("source", "target") for c in ("normal", "anomaly")},
    }
    assert {m["attributes"] == "noAttribute" for m in found if m} == {name in WITHOUT_ATTRIBUTES}
    supplement = {"noise": NOISE, "clean": CLEAN}[CATALOGUE[name].supplement]
    extra = wavs(data / name / "supplemental")
    assert len(extra) == SIZES["train"] // 10 and all(supplement.fullmatch(path.name) for path in extra)
    assert all(len(samples(path)) == RATE for path in wavs(data / name))


def test_both_sorts_of_supplement_occur() -> None:
    assert {machine.supplement for machine in CATALOGUE.values()} == {"noise", "clean"}


@pytest.mark.parametrize("name", MACHINES)
def test_the_table_agrees_with_the_files(data: Path, name: str) -> None:
    with (data / name / "attributes_00.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file_name", *(f"d{i}{c}" for i in range(1, len(header) // 2 + 1) for c in "pv")]
    assert {row[0] for row in rows} == {path.relative_to(data).as_posix() for path in wavs(data / name)}
    for path, *cells in rows:
        assert len(cells) == len(header) - 1
        told = "_".join(cell for cell in cells if cell != "none")
        if NOISE.fullmatch(Path(path).name):
            assert told == ""
        else:
            assert Path(path).stem.endswith(f"_{told or 'noAttribute'}")


@pytest.mark.parametrize("name", MACHINES)
def test_the_side_file_tells_the_faults_and_the_names_do_not(data: Path, name: str) -> None:
    story = json.loads((data / name / "simulation.json").read_text())
    faults = CATALOGUE[name].faults
    assert (story["seed"], story["counts"]["source_train"], story["counts"]["target_train"]) == (3, 13, 3)
    assert set(story["faults"]) == {path.name for path in wavs(data / name) if "_anomaly_" in path.name}
    assert {fault["kind"] for fault in story["faults"].values()} == set(faults)
    for fault in story["faults"].values():
        low, high = faults[fault["kind"]]
        assert low <= fault["severity"] <= high
    ways = {
        condition: {
            m["attributes"]
            for path in wavs(data / name)
            if (m := NAME.fullmatch(path.name)) and m["condition"] == condition
        }
        for condition in ("normal", "anomaly")
    }
    assert ways["anomaly"] <= possible_attributes(name)
    assert ways["normal"] <= possible_attributes(name)


def possible_attributes(name: str) -> set[str]:
    rng = np.random.default_rng(0)
    points = [CATALOGUE[name].operating_point(d, rng) for d in ("source", "target") for _ in range(150)]
    return {"_".join(f"{k}_{v}" for k, v in point.attributes.items()) or "noAttribute" for point in points}


@pytest.mark.parametrize("name", MACHINES)
def test_the_target_domain_runs_otherwise(name: str) -> None:
    rng = np.random.default_rng(0)
    points = {d: [CATALOGUE[name].operating_point(d, rng) for _ in range(50)] for d in ("source", "target")}
    if name in WITHOUT_ATTRIBUTES:  # the hidden speed moves out of the source's range
        speeds = {d: [max(point.values.items())[1] for point in points[d]] for d in points}
        assert max(speeds["source"]) < min(speeds["target"])
        assert np.std(speeds["source"]) > 0
    else:
        attributes = {d: {tuple(point.attributes.items()) for point in points[d]} for d in points}
        assert len(attributes["source"]) >= 3
        assert not attributes["source"] & attributes["target"]


# Reproducible


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "3", ["valve", "bearing"], **SIZES, seed=3)
    simulate(tmp_path / "4", ["bearing"], **SIZES, seed=4)
    for name in ("valve", "bearing"):
        files = [path for path in (data / name).rglob("*") if path.is_file()]
        for path in files:
            assert (tmp_path / "3" / path.relative_to(data)).read_bytes() == path.read_bytes()
    ours = {path.read_bytes() for path in wavs(data / "bearing")}
    assert not ours & {path.read_bytes() for path in wavs(tmp_path / "4" / "bearing")}


def test_a_clip_does_not_depend_on_the_others_made_with_it(data: Path, tmp_path: Path) -> None:
    simulate(tmp_path, ["slider"], train=9, test=4, seconds=1.0, seed=3, supplemental=1)
    few = wavs(tmp_path)
    assert len(few) == 14
    assert all(path.read_bytes() == (data / path.relative_to(tmp_path)).read_bytes() for path in few)


def test_no_two_clips_share_their_random_numbers() -> None:
    clips = list(product(MACHINES, Plan(20, 16, 4).clips()))
    assert len({generator(0, *which).random() for which in clips}) == len(clips)


# Levels


Levels = dict[tuple[str, str, str, str], list[float]]


@pytest.fixture(scope="module")
def levels() -> Levels:
    """RMS levels in dBFS by machine, split, domain and condition; no sample above the limiter's peak."""
    groups = [("train", "source", "normal"), ("test", "target", "normal"), ("test", "source", "anomaly")]
    groups += [("test", "target", "anomaly"), ("supplemental", "source", "normal")]
    found = {}
    for name, group in product(MACHINES, groups):
        made = [record(CATALOGUE[name], PlannedClip(*group, index), RATE, seed=0).samples for index in range(16)]
        assert max(np.max(np.abs(clip)) for clip in made) <= PEAK
        found[name, *group] = [20 * np.log10(rms(clip)) for clip in made]
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_the_level_of_each_machine_stays_in_its_range(levels: Levels, name: str) -> None:
    every = np.concatenate([some for key, some in levels.items() if key[0] == name])
    assert LEVEL_DBFS[0] - 0.1 < every.min() and every.max() < LEVEL_DBFS[1] + 0.1
    assert np.ptp(every) > 3.5
    normal = np.concatenate([some for key, some in levels.items() if key[0] == name and key[3] == "normal"])
    anomalous = np.concatenate([some for key, some in levels.items() if key[0] == name and key[3] == "anomaly"])
    assert ks_2samp(normal, anomalous).pvalue > 1e-3


@pytest.mark.parametrize(
    ("place", "one", "other"),
    [(1, "train", "test"), (1, "train", "supplemental"), (2, "source", "target"), (3, "normal", "anomaly")],
    ids=["test", "supplement", "domain", "condition"],
)
def test_the_level_tells_nothing(levels: Levels, place: int, one: str, other: str) -> None:
    ones, others = (
        np.concatenate([some for key, some in levels.items() if key[place] == which]) for which in (one, other)
    )
    assert ks_2samp(ones, others).pvalue > 1e-3


def test_no_file_is_clipped(data: Path) -> None:
    loudest = [np.max(np.abs(samples(path).astype(int))) for path in wavs(data)]
    assert max(loudest) < 0.98 * 32767 and min(loudest) > 1000


def test_a_blow_is_rounded_off_without_losing_the_level() -> None:
    signal = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    signal[100:103] = 300.0
    levelled = set_level(signal, -24.0)
    assert np.max(np.abs(levelled)) <= PEAK
    assert 20 * np.log10(rms(levelled)) == pytest.approx(-24.0, abs=0.5)


# Faults


def rendered(name: str, fault: Fault, seconds: float = 4.0, **values: float) -> tuple[Array, OperatingPoint]:
    """A machine without its hall, with all random numbers of the healthy machine the same."""
    rng = np.random.default_rng(7)
    point = CATALOGUE[name].operating_point("source", rng)
    point = dataclasses.replace(point, values={**point.values, **values})
    return CATALOGUE[name].render(point, fault, int(seconds * RATE), rng), point


def line(signal: np.ndarray, hz: float, width: float = 0.02) -> float:
    """Peak magnitude within 2 % of a frequency, where a wandering speed may take it."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    bins = np.fft.rfftfreq(len(signal), 1 / RATE)
    return float(spectrum[np.abs(bins - hz) <= width * hz].max())


def spectrogram(signal: np.ndarray) -> np.ndarray:
    """Magnitudes of 32 ms frames, of unit norm."""
    magnitudes = np.abs(np.fft.rfft(signal[: len(signal) // 512 * 512].reshape(-1, 512) * np.hanning(512), axis=1))
    return magnitudes / np.linalg.norm(magnitudes)


def envelope_line(signal: np.ndarray, hz: float) -> float:
    """A line of the envelope spectrum above 1.5 kHz, over the median of its surroundings."""
    spectrum = np.fft.rfft(signal)
    spectrum[np.fft.rfftfreq(len(signal), 1 / RATE) < 1500] = 0
    envelope = np.abs(hilbert(np.fft.irfft(spectrum, len(signal))))
    magnitude = np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(len(envelope))))
    bins = np.fft.rfftfreq(len(envelope), 1 / RATE)
    around = magnitude[(bins > 0.7 * hz) & (bins < 1.3 * hz)]
    return float(magnitude[np.abs(bins - hz) <= 0.01 * hz].max() / np.median(around))


@pytest.mark.parametrize(("kind", "order", "other"), [("outer-race", BPFO, BPFI), ("inner-race", BPFI, BPFO)])
def test_a_race_defect_rings_at_its_ball_pass_frequency(kind: str, order: float, other: float) -> None:
    faulty, point = rendered("bearing", Fault(kind, 0.6), rpm=1200.0)
    healthy, _ = rendered("bearing", HEALTHY, rpm=1200.0)
    shaft_hz = point["rpm"] / 60
    assert envelope_line(faulty, order * shaft_hz) > 3 * envelope_line(healthy, order * shaft_hz)
    assert envelope_line(faulty, order * shaft_hz) > 2 * envelope_line(faulty, other * shaft_hz)


def test_ball_pass_orders_of_a_6205() -> None:
    assert pytest.approx(3.585, abs=0.002) == BPFO
    assert pytest.approx(5.415, abs=0.002) == BPFI


def test_imbalance_raises_the_line_at_shaft_speed() -> None:
    faulty, point = rendered("fan", Fault("imbalance", 0.4))
    healthy, _ = rendered("fan", HEALTHY)
    shaft_hz = point["rpm"] / 60

    def share(signal: Array) -> float:
        return line(signal, shaft_hz) / line(signal, BLADES * shaft_hz)

    assert share(faulty) > 3 * share(healthy)


def test_eccentricity_raises_the_sidebands_of_the_gear_mesh() -> None:
    faulty, point = rendered("gearbox", Fault("eccentricity", 0.8))
    healthy, _ = rendered("gearbox", HEALTHY)
    shaft_hz = point["rpm"] / 60
    mesh_hz = PINION_TEETH * shaft_hz

    def sidebands(signal: Array) -> float:
        sides = [line(signal, mesh_hz + side * shaft_hz, 0.01) for side in (-1, 1)]
        return min(sides) / line(signal, mesh_hz, 0.01)

    assert sidebands(faulty) > 2.5 * sidebands(healthy)


def test_a_leak_hisses_while_the_valve_is_shut() -> None:
    def quietest(signal: Array) -> float:
        return float(np.percentile(np.square(signal).reshape(-1, 400).mean(axis=1), 10)) / rms(signal) ** 2

    assert quietest(rendered("valve", Fault("leak", 0.5))[0]) > 20 * quietest(rendered("valve", HEALTHY)[0])


def test_tones_follow_the_speed() -> None:
    slow, _ = rendered("fan", HEALTHY, rpm=1200.0)
    fast, _ = rendered("fan", HEALTHY, rpm=1500.0)
    assert line(slow, BLADES * 20.0) > 5 * line(slow, BLADES * 25.0)
    assert line(fast, BLADES * 25.0) > 5 * line(fast, BLADES * 20.0)


@pytest.mark.parametrize(("name", "kind"), FAULTS)
def test_every_fault_changes_the_sound_and_more_so_when_worse(name: str, kind: str) -> None:
    low, high = CATALOGUE[name].faults[kind]
    assert 0 < low < high <= 1
    healthy, mild, severe = (
        spectrogram(rendered(name, Fault(kind, severity), seconds=1.0)[0]) for severity in (0.0, low, high)
    )
    assert 0.01 < np.linalg.norm(mild - healthy) < np.linalg.norm(severe - healthy)


# Supplemental


@pytest.mark.parametrize("name", MACHINES)
def test_a_supplement_holds_the_hall_alone_or_the_machine_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Array:
        raise AssertionError("must not sound in this clip")

    machine, clip = CATALOGUE[name], PlannedClip("supplemental", "source", "normal", 0)
    if machine.supplement == "noise":
        machine = dataclasses.replace(machine, render=absent)
    else:
        monkeypatch.setattr("masd.data.simulation.recording.factory_noise", absent)
    assert rms(record(machine, clip, RATE, seed=0).samples) > 0
    with pytest.raises(AssertionError, match="must not sound"):
        record(machine, PlannedClip("train", "source", "normal", 0), RATE, seed=0)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 3}, "train is 3.*at least 4"),
        ({"test": 0}, "test is 0.*multiple of 4"),
        ({"test": 6}, "test is 6.*multiple of 4"),
        ({"test": -4}, "test is -4"),
        ({"supplemental": -1}, "supplemental is -1"),
        ({"seconds": 0.5}, "seconds is 0.5.*at least 1 s"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"machines": []}, "at least one of fan, gearbox, bearing, slider, valve, ToyCar, ToyTrain"),
        ({"machines": ["fan", "fan"]}, "each machine once"),
        (
            {"machines": ["fan", "pump"]},
            "unknown machine pump; the kinds are fan, gearbox, bearing, slider, valve",
        ),
    ],
)
def test_what_makes_no_data_set_is_refused(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=message):
        simulate(tmp_path / "out", **{"machines": ["fan"], "train": 4, "test": 4, "seconds": 1.0, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_refusal_is_a_value_error() -> None:
    assert issubclass(SimulationError, ValueError)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "valve").mkdir()
    (tmp_path / "valve" / "precious.txt").write_text("mine")
    with pytest.raises(SimulationError, match=r"valve exists and is not empty"):
        simulate(tmp_path, ["fan", "valve"], train=4, test=4, seconds=1.0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["precious.txt", "valve"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "fan").mkdir()
    simulate(tmp_path, ["fan"], train=4, test=4, seconds=1.0)
    assert len(wavs(tmp_path / "fan")) == 8


@pytest.mark.parametrize("place", ["out", "out/fan"])
def test_a_file_in_the_way_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    with pytest.raises(SimulationError, match=re.escape(str(tmp_path / place))):
        simulate(tmp_path / "out", ["fan"], train=4, test=4, seconds=1.0)


# Half-written folders


def after(calls: int, error: BaseException, then: Callable[..., object]) -> Callable[..., object]:
    """A function that works a few times and then fails."""
    left = iter(range(calls))

    def call(*arguments: object) -> object:
        if next(left, None) is None:
            raise error
        return then(*arguments)

    return call


def test_a_full_disk_leaves_nothing_of_the_machine_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = after(13, OSError(28, "No space left on device"), writer._write_wav)
    monkeypatch.setattr(writer, "_write_wav", failing)
    with pytest.raises(OSError, match="No space left"):
        simulate(tmp_path, ["fan", "valve"], train=4, test=4, seconds=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["fan"]
    assert len(wavs(tmp_path / "fan")) == 8


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        progress = after(3, KeyboardInterrupt(), lambda *_: None)
        simulate(tmp_path, ["fan"], train=4, test=4, seconds=1.0, progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_appears_only_when_whole(tmp_path: Path) -> None:
    seen: list[bool] = []
    told: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, name: str) -> None:
        told.append((done, total, name))
        seen.append((tmp_path / name).exists())

    simulate(tmp_path, ["fan", "valve"], train=4, test=4, seconds=1.0, progress=progress)
    assert told == [(i, 16, "fan" if i <= 8 else "valve") for i in range(1, 17)]
    assert not any(seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fan", "valve"]
