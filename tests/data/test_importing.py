"""Files that the real libraries write come out with the samples, rate, unit and attributes that went in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyuff
import soundfile
from nptdms import ChannelObject, RootObject, TdmsWriter
from scipy.io import savemat

from masd.cli.main import main
from masd.data.folders.machine import list_machines, read_machine
from masd.data.importing import channel as limits
from masd.data.importing.channel import ImportRefusedError
from masd.data.importing.rates import rate_of_times, whole_rate
from masd.data.importing.run import import_recordings
from masd.errors import MasdError

RATE = 25_600
RNG = np.random.default_rng(0)
ONE, TWO = (RNG.normal(scale=3.0, size=2_000) for _ in range(2))


def _notes(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "recordings.json").read_text(encoding="utf-8"))["clips"]
    for clip in found:
        samples, rate = soundfile.read(folder / clip["clip"], dtype="float32")
        assert (len(samples), rate) == (clip["samples"], clip["rate_hz"])
        assert soundfile.info(folder / clip["clip"]).subtype == "FLOAT"
        assert len(clip["source_sha256"]) == 64
    return found


def _samples(path: Path) -> np.ndarray:
    return np.asarray(soundfile.read(path, dtype="float32")[0])


def _tdms(path: Path, channels: dict[str, np.ndarray], **properties: Any) -> Path:
    increment = {"wf_increment": 1 / RATE, "unit_string": "g"}
    with TdmsWriter(path) as writer:
        writer.write_segment(
            [
                RootObject(properties={"rpm": 1_797, "operator": "night shift"}),
                *(ChannelObject("rig", name, data, {**increment, **properties}) for name, data in channels.items()),
            ]
        )
    return path


def _uff(
    path: Path, *samples: np.ndarray, rate: float = 51_200.0, func_type: int = 1, binary: int = 0, even: int = 1
) -> Path:
    for number, data in enumerate(samples):
        one = {
            **{"type": 58, "binary": binary, "func_type": func_type, "rsp_node": 12 + number, "rsp_dir": -3},
            **{"ref_node": 0, "ref_dir": 0, "data": data, "x": np.arange(len(data)) / rate, "id1": "bearing 4"},
            **{
                "ordinate_axis_units_lab": "m/s^2",
                "rsp_ent_name": "NONE",
                "abscissa_spacing": even,
                "orddenom_spec_data_type": 0,
            },
        }
        pyuff.UFF(str(path)).write_sets([one], "add")
    return path


def test_tdms_keeps_samples_rate_unit_and_attributes(tmp_path: Path) -> None:
    done = import_recordings([_tdms(tmp_path / "run 1.tdms", {"x": ONE, "y": TWO})], tmp_path / "out")
    assert done.folders == [tmp_path / "out" / "x", tmp_path / "out" / "y"]
    (clip,) = _notes(tmp_path / "out" / "y")
    assert (clip["clip"], clip["unit"], clip["rate_hz"], clip["channel"]) == ("train/run_1.wav", "g", RATE, "y")
    assert clip["attributes"]["rpm"] == 1_797
    assert np.array_equal(_samples(tmp_path / "out" / "y" / clip["clip"]), TWO.astype(np.float32))


def test_tdms_scaling_is_applied_and_said(tmp_path: Path) -> None:
    scale = {
        **{"NI_Number_Of_Scales": 1, "NI_Scaling_Status": "unscaled", "NI_Scale[0]_Scale_Type": "Linear"},
        **{"NI_Scale[0]_Linear_Slope": 0.5, "NI_Scale[0]_Linear_Y_Intercept": 1.0},
        **{"NI_Scale[0]_Linear_Input_Source": np.uint32(0xFFFFFFFF)},
    }
    raw = np.arange(1_000, dtype=np.int16)
    import_recordings([_tdms(tmp_path / "a.tdms", {"x": raw}, **scale)], tmp_path / "out")
    (clip,) = _notes(tmp_path / "out")
    assert "NI_Scale" in clip["scaling"]
    assert np.array_equal(_samples(tmp_path / "out" / "train" / "a.wav"), raw * np.float32(0.5) + 1)


@pytest.mark.parametrize(("binary", "even"), [(0, 1), (1, 1), (0, 0)])
def test_uff58_gets_the_rate_that_its_header_rounds(tmp_path: Path, binary: int, even: int) -> None:
    path = _uff(tmp_path / "a.uff", ONE, TWO, binary=binary, even=even)
    done = import_recordings([path], tmp_path / "out")
    assert done.folders == [tmp_path / "out" / name for name in ("node12_minus_z", "node13_minus_z")]
    (clip,) = _notes(done.folders[1])
    assert (clip["rate_hz"], clip["unit"], clip["attributes"]["id1"]) == (51_200, "m/s^2", "bearing 4")
    assert clip["stated_rate_hz"] == pytest.approx(51_199.87 if even else 51_200, abs=0.01 if even else 0.5)
    assert done.snapped == {clip["stated_rate_hz"]: 51_200}
    assert _samples(done.folders[1] / "train" / "a.wav") == pytest.approx(TWO, rel=1e-4)


def test_uff58_of_spectra_only_is_named(tmp_path: Path) -> None:
    with pytest.raises(MasdError, match="contains no channel that masd can read as UFF58"):
        import_recordings([_uff(tmp_path / "a.uff", ONE, func_type=4)], tmp_path / "out")


def test_matlab_as_case_western_names_it(tmp_path: Path) -> None:
    for number in (97, 98):
        content = {f"X0{number}_DE_time": ONE[:, None], f"X0{number}_FE_time": TWO[:, None], f"X0{number}RPM": 1_796}
        savemat(tmp_path / f"{number}.mat", content)
    done = import_recordings([tmp_path / "97.mat", tmp_path / "98.mat"], tmp_path / "out", rate=12_000)
    assert dict(done.channels) == {"DE": 2, "FE": 2}
    first, second = _notes(tmp_path / "out" / "DE")
    assert (first["rate_hz"], first["stated_rate_hz"], first["attributes"]["rpm"]) == (12_000, None, 1_796)
    assert (second["clip"], second["attributes"]["variable"]) == ("train/98.wav", "X098_DE_time")
    assert np.array_equal(_samples(tmp_path / "out" / "FE" / "train" / "97.wav"), TWO.astype(np.float32))


@pytest.mark.parametrize(
    "content",
    [
        {"data": np.stack([ONE, TWO]), "fs": RATE},
        {"data": np.stack([ONE, TWO], axis=1), "Fs": np.array([[RATE]])},
        {"data": np.stack([ONE, TWO]), "t": np.arange(len(ONE)) / RATE, "note": "x", "cell": np.array(["a"], object)},
    ],
)
def test_matlab_matrices_and_where_the_rate_may_be(tmp_path: Path, content: dict[str, Any]) -> None:
    savemat(tmp_path / "a.mat", content, do_compression=True)
    done = import_recordings([tmp_path / "a.mat"], tmp_path / "out")
    assert dict(done.channels) == {"data_0": 1, "data_1": 1}
    (clip,) = _notes(tmp_path / "out" / "data_1")
    assert clip["rate_hz"] == RATE
    assert np.array_equal(_samples(tmp_path / "out" / "data_1" / clip["clip"]), TWO.astype(np.float32))


def test_matlab_of_version_7_3_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(MasdError, match="-v7"):
        import_recordings([tmp_path / "a.mat"], tmp_path / "out")


ROWS = list(zip(np.arange(len(ONE)) / RATE, ONE, TWO, strict=True))


def _german(number: float) -> str:
    return f"{number:.9f}".replace(".", ",")


TABLES = {
    "names with units": "time [ms],mic (Pa),acc [g]\n" + "\n".join(f"{1e3 * t:.9f},{a},{b}" for t, a, b in ROWS),
    "two lines above": "Rig 4\n\nTime\tmic\tacc\ns\tPa\tg\n" + "\n".join(f"{t:.9f}\t{a}\t{b}" for t, a, b in ROWS),
    "German": "\ufeffZeit [s];mic [Pa];acc [g]\r\n" + "\r\n".join(";".join(map(_german, row)) for row in ROWS),
    "dates": "when,mic [Pa],acc [g]\n"
    + "\n".join(
        f"{np.datetime64('2026-01-01T00:00:00') + np.timedelta64(round(t * 1e9), 'ns')},{a},{b}" for t, a, b in ROWS
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(TABLES[name], encoding="utf-8")
    done = import_recordings([tmp_path / "a.csv"], tmp_path / "out")
    assert dict(done.channels) == {"mic": 1, "acc": 1}
    (clip,) = _notes(tmp_path / "out" / "mic")
    assert (clip["rate_hz"], clip["unit"]) == (RATE, "Pa")
    assert _samples(tmp_path / "out" / "acc" / "train" / "a.wav") == pytest.approx(TWO, abs=1e-6)


def test_a_table_without_times_needs_the_rate(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(map(str, ONE)), encoding="utf-8")
    with pytest.raises(MasdError, match="--rate"):
        import_recordings([tmp_path / "a.txt"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import_recordings([tmp_path / "a.txt"], tmp_path / "out", rate=16_000)
    assert _samples(tmp_path / "out" / "train" / "a.wav") == pytest.approx(ONE, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,a\n0,1\n1e-4,x\n2e-4,3\n", "not finite numbers"),
        ("time,a\n0,1\n1e-4,2\n9e-4,3\n1e-3,3\n", "not even"),
        ("time,a\n0,1\n0,2\n0,3\n", "does not rise"),
        ("time [h],a\n0,1\n1,2\n", "times are in 'h'"),
        ("time,a\n0,1\n1,2\n", "1 Hz"),
        ("nothing\nof use\n", "no row of numbers"),
        ("", "no row of numbers"),
        ("time,a\n0,1e39\n1e-4,2\n", "not finite numbers"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(MasdError, match=said):
        import_recordings([tmp_path / "a.csv"], tmp_path / "out")


def test_a_sound_file_of_four_channels_is_four_folders_and_is_cut(tmp_path: Path) -> None:
    samples = RNG.uniform(-1, 1, size=(16_000 * 5, 4)).astype(np.float32)
    soundfile.write(tmp_path / "rig.wav", samples, 16_000, subtype="FLOAT")
    done = import_recordings([tmp_path / "rig.wav"], tmp_path / "out", seconds=2)
    assert dict(done.channels) == {f"channel_{number}": 2 for number in range(4)}
    assert done.left_over_s == pytest.approx(4.0)
    clips = _notes(tmp_path / "out" / "channel_3")
    assert [clip["clip"] for clip in clips] == ["train/rig_part000.wav", "train/rig_part001.wav"]
    assert [clip["start_s"] for clip in clips] == [0.0, 2.0]
    assert np.array_equal(_samples(tmp_path / "out" / "channel_3" / clips[1]["clip"]), samples[32_000:64_000, 3])
    assert list_machines(tmp_path / "out") == [f"channel_{number}" for number in range(4)]


def test_training_reads_what_was_written_and_folders_keep_their_place(tmp_path: Path) -> None:
    for place in ("train", "test/normal", "test/anomaly", "monday"):
        (tmp_path / "pump" / place).mkdir(parents=True)
        _tdms(tmp_path / "pump" / place / "a.tdms", {"x": ONE})
    done = import_recordings([tmp_path / "pump"], tmp_path / "out" / "pump")
    assert done.folders == [tmp_path / "out" / "pump"]
    machine = read_machine(tmp_path / "out" / "pump")
    assert [clip.path.name for clip in machine.split("train")] == ["a.wav", "monday-a.wav"]
    assert sorted(clip.condition for clip in machine.split("test")) == ["anomaly", "normal"]


def test_files_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    _tdms(tmp_path / "a.tdms", {"x": ONE})
    savemat(tmp_path / "a.mat", {"x": ONE, "fs": RATE})
    import_recordings([tmp_path], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == ["a-mat.wav", "a-tdms.wav"]


BROKEN = {
    "a.tdms": b"TDSm" + bytes(range(200)),
    "b.uff": b"    -1\n    58\n" + b"x" * 300,
    "c.mat": b"MATLAB 5.0 MAT-file" + bytes(200),
    "d.csv": b"\x00\xff" * 100,
    "e.wav": b"RIFF",
    "f.tdms": b"",
    "g.mat": b"",
    "h.unv": b"",
}


def test_broken_files_are_named_and_do_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name, content in BROKEN.items():
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in" / "readme.md").write_text("x", encoding="utf-8")
    _tdms(tmp_path / "in" / "z.tdms", {"x": ONE})
    assert main(["data", "import", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("masd:")]
    for name in BROKEN:
        assert sum(f"{name}: " in line for line in lines) == 1, name
    assert lines[-1] == f"masd: {len(BROKEN)} files could not be imported"
    assert "1 files of other formats are left out: readme.md" in said.err
    assert "Traceback" not in said.err
    assert "x: 1 clips" in said.out
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "recordings.json",
        "z.wav",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_nothing_is_left_where_nothing_could_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert main(["data", "import", str(tmp_path / "a.wav"), "--out", str(tmp_path / "out")]) == 1
    assert sum(line.startswith("masd: ") for line in capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_full_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(MasdError, match="not empty"):
        import_recordings([_tdms(tmp_path / "a.tdms", {"x": ONE})], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_sizes_are_limited_before_samples_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [_tdms(tmp_path / "a.tdms", {"x": ONE}), tmp_path / "b.mat", tmp_path / "c.csv", tmp_path / "d.wav"]
    savemat(paths[1], {"x": ONE, "fs": RATE})
    paths[2].write_text(TABLES["names with units"], encoding="utf-8")
    soundfile.write(paths[3], ONE / 20, 16_000)
    monkeypatch.setattr(limits, "MAX_SAMPLES", 1_000)
    for path in paths:
        with pytest.raises(MasdError, match="at most 1000"):
            import_recordings([path], tmp_path / "out")


@pytest.mark.parametrize(
    ("stated", "tolerance", "rate"),
    [(51_199.87, 1e-5, 51_200), (44_099.9, 1e-5, 44_100), (44_101, 1e-5, 44_101), (12_345.6, 1e-5, 12_346)],
)
def test_rates_that_are_meant(stated: float, tolerance: float, rate: int) -> None:
    assert whole_rate(stated, tolerance) == rate


@pytest.mark.parametrize("stated", [float("nan"), float("inf"), 0.0, -16_000.0, 999.0, 500_000.0])
def test_rates_that_masd_does_not_read(stated: float) -> None:
    with pytest.raises(ImportRefusedError, match="Hz"):
        whole_rate(stated)


def test_times_that_are_rounded_still_give_the_rate() -> None:
    rate, tolerance = rate_of_times(np.round(np.arange(5_000) / 25_600, 5))
    assert whole_rate(rate, tolerance) == 25_600
