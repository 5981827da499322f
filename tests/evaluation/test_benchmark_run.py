"""``masd benchmark`` on two tiny machines: its table, the same numbers by another path, resuming, and refusals."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from tiny import TINY_OVERRIDES

from masd.cli.main import main
from masd.data.simulation import simulate
from masd.detection.controls import CONTROLS
from masd.evaluation.benchmark import run as benchmark_run
from masd.evaluation.benchmark.scores import METHODS

SMALL_BATCHES = ["training.batch_source=4", "training.batch_target=2", "training.batch_supplemental=2"]
"""A network that counts as untrained has 44 steps, whatever the settings say."""
OVERRIDES = [override for override in TINY_OVERRIDES if override != "detection.latent=true"] + SMALL_BATCHES
TINY = [part for override in OVERRIDES for part in ("--set", override)]
AREAS = ["auc_source", "auc_target", "pauc"]
SHIPPED = "recon+class+contr"
PAPER = ["--set", "detection.system=knn-feature"]


def benchmark(data: Path, out: Path, *more: str) -> int:
    return main(["benchmark", str(data), "--out", str(out), "--seeds", "0,1", *TINY, *more])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fan and bearing, 1 s clips: 9 + 3 to train, 8 to test."""
    out = tmp_path_factory.mktemp("data")
    simulate(out, ["fan", "bearing"], train=12, test=8, seconds=1.0, seed=1)
    return out


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole run of seeds 0 and 1."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    assert benchmark(data, out) == 0
    return out


@pytest.fixture(scope="module")
def table(undisturbed: Path) -> pd.DataFrame:
    return pd.read_csv(undisturbed / "benchmark.csv")


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    """The folder once more, times of files included."""
    return Path(shutil.copytree(undisturbed, tmp_path / "copy"))


def times(out: Path) -> dict[str, int]:
    """When each file of cells, networks and features was written."""
    folders = ("cells", "networks", "features")
    files = [path for folder in folders for path in (out / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in files}


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("featurize ")]
    assert len(lines) == 1 and lines[0].startswith("masd: "), lines
    return lines[0]


class TestTable:
    def test_every_method_of_every_machine_and_seed_in_per_cent(self, table: pd.DataFrame) -> None:
        assert list(table.columns) == ["machine", "method", "seed", *AREAS, "hmean"]
        assert len(METHODS) == 18
        rows = set(zip(table["machine"], table["method"], table["seed"], strict=True))
        assert rows == set(itertools.product(("fan", "bearing"), METHODS, (0, 1)))
        assert len(table) == 72
        values = table[[*AREAS, "hmean"]].to_numpy()
        assert ((values >= 0) & (values <= 100)).all() and np.median(values) > 1
        means = 3 / (1 / table[AREAS].clip(lower=1e-9)).sum(axis=1)
        np.testing.assert_allclose(table["hmean"], means, atol=1e-3)

    def test_a_method_that_needs_no_seed_has_the_same_row_under_each(self, table: pd.DataFrame) -> None:
        of = table[table["method"] == "mel-statistics"].set_index(["machine", "seed"])[AREAS]
        for machine in ("fan", "bearing"):
            np.testing.assert_array_equal(of.loc[(machine, 0)], of.loc[(machine, 1)])

    def test_pages_are_beside_it(self, undisturbed: Path) -> None:
        for name in ("benchmark.md", "benchmark.html"):
            text = (undisturbed / name).read_text()
            assert all(machine in text for machine in ("fan", "bearing")) and "mel-statistics" in text

    def test_the_same_numbers_as_train_and_evaluate(
        self, data: Path, undisturbed: Path, table: pd.DataFrame, tmp_path: Path
    ) -> None:
        bundle, results = tmp_path / "bundle", tmp_path / "results"
        assert main(["train", str(data / "bearing"), "--out", str(bundle), "--seed", "1", *TINY, *PAPER]) == 0
        assert main(["evaluate", str(bundle), str(data / "bearing"), "--out", str(results)]) == 0
        metrics = json.loads((results / "metrics.json").read_text())
        expected = {name: metrics["controls"][name] for name in CONTROLS}
        expected |= {f"{SHIPPED}/{name}": values for name, values in metrics["systems"].items() if name != "fused"}
        expected["default"] = metrics["systems"]["fused"]
        rows = table[(table["machine"] == "bearing") & (table["seed"] == 1)].set_index("method")
        assert len(expected) == 3 + 4 + 1
        for method, values in expected.items():
            for area in AREAS:
                assert rows.at[method, area] / 100 == pytest.approx(values[area], abs=1e-6), (method, area)

        own = pd.read_parquet(results / "scores.parquet").set_index("name")  # eight clips: areas alone are coarse
        cells = undisturbed / "cells" / "bearing"
        network = pd.read_parquet(cells / f"{SHIPPED}-seed1.parquet").set_index("name").loc[own.index]
        default = pd.read_parquet(cells / "default-seed1.parquet").set_index("name").loc[own.index]
        controls = pd.read_parquet(cells / "controls-seed1.parquet").set_index("name").loc[own.index]
        np.testing.assert_allclose(default["default"], own["fused"], rtol=1e-5)
        assert not np.allclose(network["fused+latent"], own["fused"], rtol=1e-5), "the network is without effect"
        np.testing.assert_allclose(network[f"{SHIPPED}/lof-score"], own["lof-score"], rtol=1e-5)
        for name in CONTROLS:
            np.testing.assert_allclose(controls[name], own[name], rtol=1e-5)


class TestResuming:
    def test_only_what_is_missing_is_computed(self, data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before, csv = times(copy), (copy / "benchmark.csv").read_bytes()
        lost = "cells/fan/recon-seed1.parquet"
        (copy / lost).unlink()
        (copy / "benchmark.csv").unlink()
        assert benchmark(data, copy) == 0
        printed = capsys.readouterr().out.split()
        assert printed == [str(copy / f"benchmark.{kind}") for kind in ("csv", "md", "html")]
        after = times(copy)
        assert after.keys() == before.keys()
        assert {name for name in after if after[name] != before[name]} == {lost}, "its network is still there"
        assert (copy / "benchmark.csv").read_bytes() == csv

    def test_nothing_is_missing_wherever_the_recordings_lie(self, data: Path, copy: Path, tmp_path: Path) -> None:
        moved = Path(shutil.copytree(data, tmp_path / "moved", copy_function=shutil.copy))
        before, csv = times(copy), (copy / "benchmark.csv").read_bytes()
        (copy / "benchmark.csv").unlink()
        assert benchmark(moved, copy) == 0
        assert times(copy) == before
        assert (copy / "benchmark.csv").read_bytes() == csv

    def test_a_part_of_the_machines_and_seeds_is_a_part_of_the_table(
        self, data: Path, copy: Path, table: pd.DataFrame
    ) -> None:
        before = times(copy)
        assert main(["benchmark", str(data), "--machines", "fan", "--seeds", "1", "--out", str(copy), *TINY]) == 0
        part = table[(table["machine"] == "fan") & (table["seed"] == 1)].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.read_csv(copy / "benchmark.csv"), part)
        assert times(copy) == before


def _training_clip(data: Path) -> None:
    path = sorted((data / "fan" / "train").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-2] + b"\x01\x02")


def _test_clip(data: Path) -> None:
    path = sorted((data / "fan" / "test").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-2] + b"\x01\x02")


def _label(data: Path) -> None:
    path = next((data / "fan" / "test").glob("*source_test_normal_0001*"))
    path.rename(path.with_name(path.name.replace("normal_0001", "anomaly_0009")))


def _one_more(data: Path) -> None:
    path = next((data / "bearing" / "train").glob("*source*_0001*"))
    shutil.copy(path, path.with_name(path.name.replace("_0001", "_0099")))


class TestRefusals:
    @pytest.mark.parametrize("change", [_training_clip, _test_clip, _label, _one_more])
    def test_recordings_that_changed(
        self,
        data: Path,
        undisturbed: Path,
        tmp_path: Path,
        change: Callable[[Path], None],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Also those of the test: their scores would be of sounds that are no longer there."""
        changed = Path(shutil.copytree(data, tmp_path / "changed"))
        change(changed)
        self.refused(changed, undisturbed, capsys)

    @pytest.mark.parametrize("override", ["training.alpha=3", "detection.system=lof-score", "audio.n_mels=64"])
    def test_other_settings(
        self, data: Path, undisturbed: Path, override: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.refused(data, undisturbed, capsys, "--set", override)

    def test_other_settings_leave_nothing_of_a_new_machine(
        self, data: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its features would be taken for those of the right settings when it is asked for again."""
        more = Path(shutil.copytree(data, tmp_path / "more"))
        shutil.copytree(data / "fan", more / "airfan")
        self.refused(more, undisturbed, capsys, "--set", "audio.n_mels=64")

    def refused(self, data: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> None:
        before = times(out)
        assert benchmark(data, out, *more) == 1
        assert "contains a benchmark of other data or settings; choose another --out" in error_line(capsys)
        assert times(out) == before

    def test_features_that_a_run_before_did_not_finish_are_made_anew(
        self, data: Path, undisturbed: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that ended while it read recordings says nothing of what its features were made of."""
        (copy / "benchmark.json").unlink()
        shutil.rmtree(copy / "features" / "fan")
        shutil.copytree(undisturbed / "features" / "bearing", copy / "features" / "fan")
        monkeypatch.setattr(benchmark_run, "_run", lambda jobs, out: None)
        assert benchmark(data, copy) == 0
        for name in ("frames.npy", "store.json"):
            path = Path("features", "fan", name)
            assert (copy / path).read_bytes() == (undisturbed / path).read_bytes()

    @pytest.mark.parametrize("lacking", ["labels", "anomalies", "test clips"])
    def test_a_machine_without_labelled_test_clips(
        self, data: Path, tmp_path: Path, lacking: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        unlabelled = Path(shutil.copytree(data, tmp_path / "data"))
        for number, path in enumerate(sorted((unlabelled / "fan" / "test").iterdir())):
            if lacking == "labels":
                path.rename(path.with_name(f"section_00_{number:04d}.wav"))
            elif lacking == "test clips" or "anomaly" in path.name:
                path.unlink()
        assert benchmark(unlabelled, tmp_path / "out") == 1
        line = error_line(capsys)
        assert str(unlabelled / "fan" / "test") in line and "labelled normal and anomalous test clips" in line
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": "", "machines": []}'])
    def test_a_note_that_is_not_its_own(
        self, data: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "benchmark.json").write_text(content)
        assert benchmark(data, tmp_path) == 1
        assert "benchmark.json: was not written by a benchmark" in error_line(capsys)

    def test_a_fleet(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert benchmark(data, tmp_path / "out", "--set", "training.scope=fleet") == 1
        assert "training.scope=fleet" in error_line(capsys)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("seeds", ["a,b", "", "1,", "0.5", "1,1", "-1"])
    def test_seeds_that_are_none(self, data: Path, tmp_path: Path, seeds: str) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["benchmark", str(data), "--out", str(tmp_path / "out"), "--seeds", seeds])
        assert stop.value.code == 2


ONE_MACHINE = ("--machines", "fan", "--seeds", "1")


def finished(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*.parquet")}


def start(data: Path, out: Path, until: Callable[[], object]) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """A run in a process of its own, and the processes that it started, as soon as it has come so far."""
    command = [sys.executable, "-m", "masd.cli.main", "benchmark", str(data), *ONE_MACHINE, "--out", str(out)]
    run = subprocess.Popen([*command, *TINY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not until():
        assert run.poll() is None, run.communicate()
        time.sleep(0.005)
    return run, psutil.Process(run.pid).children()


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_table(data: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run, workers = start(data, out, until=lambda: any(out.glob("networks/*/*")))
    max(workers, key=lambda process: process.memory_info().rss).kill()  # as if memory had run short
    _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert [line for line in said.splitlines() if not line.startswith(("featurize ", "benchmark "))] == [
        f"masd: {out}: a process of the benchmark was killed, perhaps for lack of memory; run the same command "
        "again: it continues where it stopped"
    ]
    assert gone(workers)

    enough = len(finished(out)) + 1
    run, workers = start(data, out, until=lambda: len(finished(out)) >= enough)
    run.kill()
    run.communicate(timeout=60)
    assert gone(workers), "a trainer is left, beside those of the next run"
    before = finished(out)
    assert len(before) < 6 and not (out / "benchmark.csv").exists()

    assert main(["benchmark", str(data), *ONE_MACHINE, "--out", str(out), *TINY]) == 0
    part = table[(table["machine"] == "fan") & (table["seed"] == 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(out / "benchmark.csv"), part)
    after = finished(out)
    assert len(after) == 6
    assert {path: after[path] for path in before} == before
