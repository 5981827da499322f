"""A machine's folder -> its clip table. Nothing is decoded here, so empty files do."""

from pathlib import Path

import pytest
import soundfile

from masd.config import DataSettings
from masd.data.clips import NO_ATTRIBUTE, Clip
from masd.data.findings import Finding
from masd.data.folders.listing import AUDIO_SUFFIXES
from masd.data.folders.machine import MachineData, list_machines, read_machine
from masd.errors import MasdError

TRAIN = "train/section_00_source_train_normal_0000_vel_10.wav"


def make(folder: Path, *files: str) -> Path:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def table(folder: Path, text: str) -> None:
    (folder / "attributes_00.csv").write_text(text, encoding="utf-8")


def by_name(data: MachineData) -> dict[str, Clip]:
    clips = {clip.name: clip for clip in data.clips}
    assert len(clips) == len(data.clips)
    return clips


def refusal(folder: Path, settings: DataSettings | None = None) -> str:
    with pytest.raises(MasdError) as caught:
        read_machine(folder, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- DCASE layouts ---------------------------------------------------------------------------------------------------


def test_dcase_2022_to_2026(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "fan",
        TRAIN,
        "train/section_00_target_train_normal_0001_vel_12.wav",
        "test/section_00_source_test_normal_0000_vel_10.wav",
        "test/section_00_target_test_anomaly_0000_vel_12.wav",
        "supplemental/section_00_machine_source_0000_noAttribute.wav",
        "readme.txt",
        "train/.hidden.wav",
        "train/notes.txt",
    )
    data = read_machine(folder)
    assert data.machine_type == "fan"
    assert [(c.split, c.section, c.domain, c.condition, c.kind, c.attributes) for c in data.clips] == [
        ("train", "00", "source", "normal", "noisy", "vel=10"),
        ("train", "00", "target", "normal", "noisy", "vel=12"),
        ("test", "00", "source", "normal", "noisy", ""),
        ("test", "00", "target", "anomaly", "noisy", ""),
        ("supplemental", "00", "none", "normal", "clean", NO_ATTRIBUTE),
    ]
    assert all(clip.name == clip.path.name and clip.path.is_file() for clip in data.clips)
    assert data.split("test") == data.clips[2:4]


def test_dcase_2020_knows_no_domains(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "pump",
        "train/normal_id_00_00000000.wav",
        "train/normal_id_02_00000000.wav",
        "test/normal_id_00_00000000.wav",  # the same name as a training clip, as in the set
        "test/anomaly_id_02_00000003.wav",
    )
    data = read_machine(folder)
    assert {clip.domain for clip in data.clips} == {"none"}
    assert [(c.split, c.section, c.condition) for c in data.clips] == [
        ("train", "00", "normal"),
        ("train", "02", "normal"),
        ("test", "02", "anomaly"),
        ("test", "00", "normal"),
    ]
    assert [clip.name for clip in data.split("test")] == [
        "anomaly_id_02_00000003.wav",
        "normal_id_00_00000000.wav",
    ]


def test_dcase_2021_has_a_test_folder_per_domain(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "valve",
        "train/section_00_source_train_normal_0000_open.wav",
        "source_test/section_00_source_test_normal_0000.wav",
        "target_test/section_00_target_test_anomaly_0000.wav",
        "target_test/section_03_0007.wav",  # blind: only the folder knows the domain
    )
    clips = by_name(read_machine(folder))
    assert {name: clip.domain for name, clip in clips.items() if clip.split == "test"} == {
        "section_00_source_test_normal_0000.wav": "source",
        "section_00_target_test_anomaly_0000.wav": "target",
        "section_03_0007.wav": "target",
    }
    assert clips["section_03_0007.wav"].condition == "unknown"


def test_blind_evaluation_clips_have_unknown_condition_and_no_domain(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, "test/section_00_0000.wav", "test/section_00_test_0001.wav")
    test = read_machine(folder).split("test")
    assert [(c.condition, c.domain, c.attributes) for c in test] == [("unknown", "none", "")] * 2


def test_clips_come_sorted_by_name_whatever_the_disk_says(tmp_path: Path) -> None:
    names = [f"train/section_00_source_train_normal_{number:04}.wav" for number in (7, 3, 9, 1)]
    data = read_machine(make(tmp_path / "fan", *names))
    assert [clip.name for clip in data.clips] == sorted(Path(name).name for name in names)


def test_the_machine_type_is_the_folder_name_even_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path / "ToyCar", TRAIN))
    assert read_machine(Path()).machine_type == "ToyCar"


# --- plain folders ---------------------------------------------------------------------------------------------------


def test_plain_folders(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "press",
        "train/monday/a.wav",
        "train/b.FLAC",
        "test/normal/1.wav",
        "test/anomaly/1.wav",  # the same file name as a normal clip
        "test/anomaly/night/3.wav",
        "test/2.ogg",
    )
    clips = by_name(read_machine(folder))
    assert {name: (clip.split, clip.condition) for name, clip in clips.items()} == {
        "b.FLAC": ("train", "normal"),
        "a.wav": ("train", "normal"),
        "normal/1.wav": ("test", "normal"),
        "anomaly/1.wav": ("test", "anomaly"),
        "3.wav": ("test", "anomaly"),
        "2.ogg": ("test", "unknown"),
    }
    assert {clip.domain for clip in clips.values()} == {"none"}
    assert clips["a.wav"].attributes == NO_ATTRIBUTE


def test_a_plain_machine_folder_called_normal_says_nothing_about_its_clips(tmp_path: Path) -> None:
    clips = by_name(read_machine(make(tmp_path / "anomaly", "train/a.wav", "test/b.wav")))
    assert clips["b.wav"].condition == "unknown"


def test_without_test_clips_there_is_still_something_to_train_on(tmp_path: Path) -> None:
    data = read_machine(make(tmp_path / "press", "train/a.wav"))
    assert [clip.split for clip in data.clips] == ["train"]


# --- attributes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file_name",
    [
        "section_00_source_train_normal_0000_vel_10",
        "section_00_source_train_normal_0000_vel_10.wav",
        "fan/train/section_00_source_train_normal_0000_vel_10.wav",
        "fan\\train\\section_00_source_train_normal_0000_vel_10.WAV",
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "byte-order-mark"])
def test_attributes_of_the_table_win_over_the_name(file_name: str, mark: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, "train/section_00_source_train_normal_0001_vel_11.wav")
    table(folder, f"{mark}file_name,d1p,d1v,d2p,d2v\n{file_name},vel,20,loc,B\n")
    assert [clip.attributes for clip in read_machine(folder).clips] == ["loc=B,vel=20", "vel=11"]


def test_name_and_table_agree_whatever_the_order_of_pairs(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "fan",
        "train/section_00_source_train_normal_0000_vel_10_loc_A.wav",
        "train/section_00_source_train_normal_0001.wav",
    )
    table(folder, "file_name,d1p,d1v,d2p,d2v\nsection_00_source_train_normal_0001.wav,loc,A,vel,10\n")
    first, second = read_machine(folder).clips
    assert first.attributes == second.attributes == "loc=A,vel=10"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("none,none,none,none", NO_ATTRIBUTE),
        ("vel,none,None,NONE", NO_ATTRIBUTE),
        (",,,", NO_ATTRIBUTE),
        ("vel,10,none,none", "vel=10"),
        ("vel,10", "vel=10"),
        ("vel,10,loc,A,more,than,asked", "loc=A,vel=10"),
    ],
)
def test_missing_values_of_the_table(row: str, expected: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", "train/section_00_source_train_normal_0000_vel_99.wav")
    table(folder, f"file_name,d1p,d1v,d2p,d2v\nsection_00_source_train_normal_0000_vel_99,{row}\n")
    assert read_machine(folder).clips[0].attributes == expected


def test_several_tables_are_read(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "fan",
        "train/section_00_source_train_normal_0000.wav",
        "train/section_01_source_train_normal_0000.wav",
    )
    table(folder, "file_name,d1p,d1v\nsection_00_source_train_normal_0000,vel,1\n")
    other = "d1p,d1v,file_name\nvel,2,section_01_source_train_normal_0000\nvel,3\n"  # the last row lacks its name
    (folder / "attributes_01.csv").write_text(other, encoding="utf-8")
    assert [clip.attributes for clip in read_machine(folder).clips] == ["vel=1", "vel=2"]


def test_attributes_of_plain_and_supplemental_clips(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "press",
        "train/a.b.flac",
        "test/c.wav",
        "supplemental/clean_1.wav",
        "supplemental/clean_2_vel_9.wav",
    )
    table(folder, "file_name,d1p,d1v\na.b.flac,load,50\nc.wav,load,60\nclean_1,load,70\n")
    clips = by_name(read_machine(folder))
    assert clips["a.b.flac"].attributes == "load=50"
    assert clips["c.wav"].attributes == ""
    assert clips["clean_1.wav"].attributes == "load=70"
    assert clips["clean_2_vel_9.wav"].attributes == "vel=9"


def test_attributes_of_test_clips_are_never_read(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "fan",
        TRAIN,
        "test/section_00_source_test_anomaly_0000_vel_99.wav",
        "test/section_00_0001.wav",
    )
    table(
        folder,
        "file_name,d1p,d1v\nfan/test/section_00_source_test_anomaly_0000_vel_99.wav,vel,99\nsection_00_0001,vel,99\n",
    )
    assert all(clip.attributes == "" for clip in read_machine(folder).split("test"))


@pytest.mark.parametrize("test_name", ["test/0001.wav", "press/test/0001.wav", "press/test/anomaly/0001.wav"])
def test_a_test_clips_row_does_not_label_the_training_clip_of_the_same_name(test_name: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/0001.wav", "test/anomaly/0001.wav")
    table(folder, f"file_name,d1p,d1v\npress/train/0001.wav,load,50\n{test_name},load,99\n")
    assert [clip.attributes for clip in read_machine(folder).clips] == ["load=50", ""]


@pytest.mark.parametrize(
    "content",
    [b"name,d1p,d1v\na,vel,1\n", b"", b"file_name,d1p\n\xff\xfe\n"],
    ids=["column", "empty", "encoding"],
)
def test_a_table_that_is_none_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN)
    path = folder / "attributes_00.csv"
    path.write_bytes(content)
    assert str(path) in refusal(folder)


# --- supplemental recordings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("section_00_machine_source_0000_noAttribute.wav", "clean"),
        ("section_00_source_supplemental_machine_0000.wav", "clean"),
        ("section_00_noise_supplemental_normal_0000.wav", "noise"),
    ],
)
def test_supplemental_kinds_by_name(name: str, kind: str, tmp_path: Path) -> None:
    clips = read_machine(make(tmp_path / "fan", TRAIN, f"supplemental/{name}")).split("supplemental")
    assert [(clip.name, clip.kind) for clip in clips] == [(name, kind)]


@pytest.mark.parametrize(("asked", "attributes"), [("clean", "vel=1"), ("noise", NO_ATTRIBUTE)])
def test_the_configuration_overrides_what_the_names_say(asked: str, attributes: str, tmp_path: Path) -> None:
    folder = make(
        tmp_path / "fan",
        TRAIN,
        "supplemental/section_00_machine_source_0000_vel_1.wav",
        "supplemental/section_00_noise_supplemental_normal_0000.wav",
        "supplemental/anything.wav",
    )
    clips = by_name(read_machine(folder, DataSettings(supplemental=asked)))
    supplemental = [clip for clip in clips.values() if clip.split == "supplemental"]
    assert [clip.kind for clip in supplemental] == [asked] * 3
    assert clips["section_00_machine_source_0000_vel_1.wav"].attributes == attributes


def test_supplemental_clips_can_be_ignored(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, "supplemental/anything.wav")
    assert read_machine(folder, DataSettings(supplemental="ignore")).split("supplemental") == ()


def test_mixed_supplemental_kinds_are_refused_naming_one_of_each(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, "supplemental/clean_0000.wav", "supplemental/noise_0000.wav")
    text = refusal(folder)
    assert "clean_0000.wav" in text
    assert "noise_0000.wav" in text
    assert str(folder / "supplemental") in text
    assert "data.supplemental" in text


def test_an_undecidable_supplemental_clip_is_refused_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, "supplemental/section_00_extra_0000.wav")
    text = refusal(folder)
    assert str(folder / "supplemental" / "section_00_extra_0000.wav") in text
    assert "data.supplemental" in text


# --- what is no data set ---------------------------------------------------------------------------------------------


def test_no_training_clips(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", "test/section_00_0000.wav", "train/readme.txt")
    assert str(folder / "train") in refusal(folder)


@pytest.mark.parametrize(
    ("files", "culprit"),
    [
        (
            [TRAIN, "train/section_00_source_train_anomaly_0000.wav"],
            "section_00_source_train_anomaly_0000.wav",
        ),
        (
            ["train/normal_id_00_00000000.wav", "train/anomaly_id_00_00000000.wav"],
            "anomaly_id_00_00000000.wav",
        ),
        (["train/normal/a.wav", "train/anomaly/b.wav"], "b.wav"),
        (["train/a.wav", "train/anomaly/night/c.wav"], "c.wav"),
        *([["train/a.wav", f"train/{word}/b.wav"], f"{word}/b.wav"] for word in ("abnormal", "NG", "Faulty parts")),
        (["train/a.wav", "train/anomaly_002.wav"], "anomaly_002.wav"),
        (["train/a.wav", "train/monday/pump_NOK_3.wav"], "pump_NOK_3.wav"),
        (["train/normal/a.wav", "train/normal/broken_1.wav"], "broken_1.wav"),
        ([TRAIN, "train/section_00_source_train_abnormal_0000.wav"], "section_00_source_train_abnormal_0000.wav"),
        ([TRAIN, "train/defect/section_00_source_train_normal_0001.wav"], "section_00_source_train_normal_0001.wav"),
        (["train/normal_id_00_00000000.wav", "train/abnormal_id_00_00000000.wav"], "abnormal_id_00_00000000.wav"),
    ],
)
def test_anomalies_among_the_training_clips(files: list[str], culprit: str, tmp_path: Path) -> None:
    text = refusal(make(tmp_path / "fan", *files))
    assert culprit in text
    assert "anomal" in text


@pytest.mark.parametrize("file", ["train/recording.wav", "test/recording.wav"])
def test_an_unknown_name_among_dcase_names(file: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, file)
    text = refusal(folder)
    assert str(folder / file) in text
    assert f"_{file.split('/')[0]}_normal_" in text  # shows what a name looks like


@pytest.mark.parametrize(
    ("files", "culprit"),
    [
        ([TRAIN, "test/section_00_source_train_normal_0001.wav"], "section_00_source_train_normal_0001.wav"),
        ([TRAIN, "train/section_00_source_test_normal_0001.wav"], "section_00_source_test_normal_0001.wav"),
        ([TRAIN, "train/section_00_test_0001.wav"], "section_00_test_0001.wav"),
    ],
)
def test_a_clip_in_the_wrong_folder(files: list[str], culprit: str, tmp_path: Path) -> None:
    text = refusal(make(tmp_path / "fan", *files))
    assert culprit in text
    assert "'train'" in text
    assert "'test'" in text


def test_a_missing_folder_and_a_file_in_its_place(tmp_path: Path) -> None:
    assert str(tmp_path / "fan") in refusal(tmp_path / "fan")
    (tmp_path / "pump").touch()
    assert str(tmp_path / "pump") in refusal(tmp_path / "pump")


# --- words, suffixes and tables as people have them -----------------------------------------------------------------


def found(folder: Path) -> dict[str, Finding]:
    return {finding.code: finding for finding in read_machine(folder).findings}


@pytest.mark.parametrize("word", ["abnormal", "NG", "anomalies", "Faulty", "defect", "n.i.O.", "not ok"])
def test_test_folders_of_any_word_for_anomalous(word: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav", f"test/{word}/1.wav", "test/OK/2.wav")
    clips = by_name(read_machine(folder))
    assert {name: clips[name].condition for name in ("1.wav", "2.wav")} == {"1.wav": "anomaly", "2.wav": "normal"}
    assert found(folder) == {}


def test_the_folder_of_a_test_clip_is_heard_before_its_name(tmp_path: Path) -> None:
    files = ("train/a.wav", "test/ng_1.wav", "test/good_2.wav", "test/normal/bad_3.wav", "test/faulty/normal/4.wav")
    clips = by_name(read_machine(make(tmp_path / "press", *files)))
    assert {name: clip.condition for name, clip in clips.items() if clip.split == "test"} == {
        "ng_1.wav": "anomaly",
        "good_2.wav": "normal",
        "bad_3.wav": "normal",
        "4.wav": "normal",
    }


def test_the_folder_labels_a_blind_name(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN, "test/abnormal/section_00_0001.wav")
    assert read_machine(folder).split("test")[0].condition == "anomaly"


def test_words_that_say_nothing_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav", "train/monday/b.wav", "test/squeaky/c.wav", "test/squeaky/d.wav")
    seen = found(folder)
    assert set(seen) == {"unknown_words_train", "unknown_words_test"}
    assert "train/monday/ (1 clip)" in seen["unknown_words_train"].text
    assert "test/squeaky/ (2 clips)" in seen["unknown_words_test"].text
    assert seen["unknown_words_test"].clips == ("test/squeaky/c.wav", "test/squeaky/d.wav")


def test_a_training_clip_that_says_both_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav", "train/normal_or_faulty.wav")
    assert found(folder)["ambiguous_train"].clips == ("train/normal_or_faulty.wav",)


def test_test_clips_without_a_condition_are_counted(tmp_path: Path) -> None:
    seen = found(make(tmp_path / "p", "train/a.wav", "test/b.wav"))
    assert "1 test clip has no known condition" in seen["unlabelled_test"].text


SUFFIXES = [
    *("wav", "WAV", "wave", "bwf", "rf64", "w64", "caf", "au", "snd", "sph", "aif", "aiff", "aifc", "flac"),
    *("ogg", "oga", "opus", "mp2", "mp3", "voc"),
]


def test_training_takes_what_scoring_takes(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", *(f"train/clip_{number}.{suffix}" for number, suffix in enumerate(SUFFIXES)))
    assert len(read_machine(folder).clips) == len(SUFFIXES)
    assert found(folder) == {}


def test_every_format_that_is_read_has_a_suffix() -> None:
    """Those left: raw samples have no header, the others carry no audio by that suffix alone."""
    suffixes = {suffix.removeprefix(".").upper() for suffix in AUDIO_SUFFIXES}
    names = {"NIST", "IRCAM", "SVX", "WAVEX", "RAW", "MAT4", "MAT5", "MPC2K", "SD2", "XI", "HTK"}
    formats = {"AIFF", *soundfile.available_formats()} - names
    assert formats <= suffixes
    assert {"SPH", "SF", "8SVX", "NIST"} <= suffixes


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "press",
        *("train/a.wav", "train/b.m4a", "train/c.M4A", "train/d", "test/e.raw"),
        *("train/notes.txt", "train/photo.JPG", "train/README", "train/.hidden.wav", "train/.trash/f.wav", "g.csv"),
    )
    seen = found(folder)
    assert set(seen) == {"left_out"}
    assert seen["left_out"].clips == ("test/e.raw", "train/b.m4a", "train/c.M4A", "train/d")
    assert "2 with .m4a (train/b.m4a), 1 with .raw (test/e.raw), 1 with no suffix (train/d)" in seen["left_out"].text
    assert [clip.name for clip in read_machine(folder).clips] == ["a.wav"]


def test_nothing_but_files_of_other_suffixes_says_so(tmp_path: Path) -> None:
    assert "2 with .m4a" in refusal(make(tmp_path / "press", "train/a.m4a", "train/b.m4a"))


def test_recordings_outside_the_known_folders_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav", "validation/b.wav", "validation/c.wav", "d.wav")
    assert "the folder itself (1), validation/ (2)" in found(folder)["elsewhere"].text
    assert "Train/ (1)" in refusal(make(tmp_path / "pump", "Train/a.wav"))


def test_a_linked_folder_of_clips_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav")
    make(tmp_path / "disk", "b.wav")
    (folder / "train" / "monday").symlink_to(tmp_path / "disk")
    assert "train/monday/" in found(folder)["links"].text


@pytest.mark.parametrize("name", ["attributes_00.csv", "attributes.csv", "Attributes_00.CSV", "train/attributes.csv"])
@pytest.mark.parametrize(
    "text",
    [
        "file_name, d1p, d1v\n section_00_source_train_normal_0000_vel_10.wav , vel, 20 \n",
        "FILE_NAME;D1P;D1V\nsection_00_source_train_normal_0000_vel_10;vel;20\n",
        "file_name,d1p,d1v\nSection_000_source_train_normal_0000_vel_10.WAV,vel,20\n",
        "file_name,d1p,d1v\r\nfan/train/section_0_source_train_normal_0000_vel_10.wav,vel,20\r\n\r\n",
    ],
    ids=["spaces", "semicolons", "section", "line ends"],
)
def test_tables_whose_meaning_is_clear(name: str, text: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", TRAIN)
    (folder / name).write_text(text, encoding="utf-8", newline="")
    assert [clip.attributes for clip in read_machine(folder).clips] == ["vel=20"]
    assert found(folder) == {}


def test_a_file_name_with_another_section_style_matches_its_row(tmp_path: Path) -> None:
    folder = make(tmp_path / "fan", "train/Section_000_source_train_normal_0000.wav")
    table(folder, "file_name,d1p,d1v\nsection_00_source_train_normal_0000.wav,vel,20\n")
    assert [(clip.section, clip.attributes) for clip in read_machine(folder).clips] == [("00", "vel=20")]


def test_rows_of_clips_of_one_name_in_two_folders(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a/1.wav", "train/b/1.wav", "train/b/2.wav")
    table(folder, "file_name,d1p,d1v\ntrain/a/1.wav,load,50\ntrain/b/1.wav,load,60\n2,load,70\n")
    assert [clip.attributes for clip in read_machine(folder).clips] == ["load=50", "load=60", "load=70"]


def test_a_table_that_matches_no_clip_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav")
    table(folder, "file_name,d1p,d1v\nclip_1.wav,load,50\nclip_2.wav,load,50\n")
    finding = found(folder)["attributes_unmatched"]
    assert finding.level == "warning"
    assert "attributes_00.csv: none of its 2 rows" in finding.text and "clip_1.wav" in finding.text


def test_partial_matches_are_counted_both_ways(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav", "train/b.wav", "test/c.wav")
    table(folder, "file_name,d1p,d1v\na.wav,load,50\nx.wav,load,50\nc,load,1\n")
    seen = found(folder)
    assert "1 of 3 rows name a recording that does not exist (x.wav)" in seen["attributes_partly_matched"].text
    assert "1 training clip has no row in any attribute table: train/b.wav" in seen["attributes_missing"].text


def test_a_table_without_conditions_is_refused_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path / "press", "train/a.wav")
    table(folder, "file_name,rpm\na.wav,50\n")
    assert "attributes_00.csv: has no column 'd1p'" in refusal(folder)


@pytest.mark.parametrize(("files", "few"), [(["a.wav", "b.wav"], True), (["a.wav", "b.wav", "c.wav"], False)])
def test_too_few_clips_are_refused_with_what_to_do(files: list[str], few: bool, tmp_path: Path) -> None:
    data = read_machine(make(tmp_path / "press", *(f"train/{file}" for file in files)))
    if few:
        with pytest.raises(MasdError, match=r"press/train: has 2 source training clips.*cut long recordings"):
            data.check_enough()
    else:
        data.check_enough()


def test_target_clips_alone_are_too_few(tmp_path: Path) -> None:
    files = [f"train/section_00_target_train_normal_000{number}.wav" for number in range(5)]
    with pytest.raises(MasdError, match="0 source training clips"):
        read_machine(make(tmp_path / "fan", *files)).check_enough()


# --- data sets of several machines -----------------------------------------------------------------------------------


def test_machines_are_the_folders_with_training_clips(tmp_path: Path) -> None:
    make(tmp_path, f"valve/{TRAIN}", f"fan/{TRAIN}", "notes/readme.txt", "readme.txt")
    assert list_machines(tmp_path) == ["fan", "valve"]


def test_a_root_without_machines_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(MasdError) as caught:
            list_machines(root)
        assert str(root) in str(caught.value)
        assert "\n" not in str(caught.value)
