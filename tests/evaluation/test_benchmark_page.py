"""The benchmark's files: what the first sentence answers, what is said to be missing, and a page that stands alone."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmark_results import SEEDS, make_clips, make_results
from html_page import Page

from masd.errors import MasdError
from masd.evaluation.benchmark import resamples as benchmark_resamples
from masd.evaluation.benchmark.findings import headline, missing, signed
from masd.evaluation.benchmark.page import BenchmarkAbout, BenchmarkScores, write_benchmark
from masd.evaluation.benchmark.scores import METHODS
from masd.evaluation.benchmark.table import build_table, csv_rows
from masd.evaluation.pages.html import DASH, points

STRENGTHS = dict.fromkeys(METHODS, 1.0) | {"baseline-mse": 0.3, "baseline-mahalanobis": 0.6, "default": 2.0}
FILES = ["benchmark.csv", "benchmark.html", "benchmark.md"]


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_resamples, "SAMPLES", 100)


def about(**changes: Any) -> BenchmarkAbout:
    made = BenchmarkAbout(
        command="masd benchmark data --seeds 0,1,2 --out out",
        created="2026-01-01T00:00:00+00:00",
        machines=("fan", "valve"),
        seeds=SEEDS,
        schedule="100 + 250 epochs.",
        versions={"masd": "0.1.0", "torch": "2.9.0"},
        notes=["one remark on the run"],
    )
    return replace(made, **changes)


def results(**strengths: float) -> list[BenchmarkScores]:
    return [make_results(machine, STRENGTHS | strengths) for machine in ("fan", "valve")]


def few(machine: str = "fan", **strengths: float) -> BenchmarkScores:
    """One machine with few methods: fast."""
    base = {"baseline-mse": 0.5, "mel-statistics": 1.0} | strengths
    return make_results(machine, {name.replace("_", "-"): value for name, value in base.items()})


def page_of(given: list[BenchmarkScores], folder: Path, **changes: Any) -> Page:
    write_benchmark(given, folder / "out", about(**changes))
    assert sorted(file.name for file in (folder / "out").iterdir()) == FILES
    return Page(folder / "out" / "benchmark.html")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a complete benchmark of two machines."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_resamples, "SAMPLES", 100)
        write_benchmark(results(), out, about())
    return out


def test_the_page_has_every_method_and_machine(whole: Path) -> None:
    page, table = Page(whole / "benchmark.html"), build_table(results())
    assert page.text.split("Benchmark of 2 machines ", 2)[2].startswith(headline(table))
    assert "one remark on the run" in page.text and "masd benchmark data --seeds 0,1,2 --out out" in page.text
    assert "Seeds 0, 1, 2. 100 + 250 epochs. Made 2026-01-01" in page.text and "torch 2.9.0" in page.text
    official, worst = table.official["default"].spread, table.domains["default"][0]
    found = page.row("default")
    assert found[0] == f"{points(official.mean)} ({points(official.sd)})"
    assert found[1] == f"{points(worst.auc)}{worst.machine} {worst.domain}"
    for machine, cell in zip(table.machines, found[2:], strict=True):
        spreads = table.spreads[machine, "default"]
        areas = " / ".join(points(spreads[area].mean) for area in ("auc_source", "auc_target", "pauc"))
        hmean = spreads["hmean"]
        assert hmean and cell == f"{points(hmean.mean)} ({points(hmean.sd)}){areas}"
    assert [row[0] for row in page.rows].count("lof-score") == 2 * 3  # scores and differences of each variant
    against = next(row for row in page.rows[::-1] if row[0] == "baseline, Mahalanobis")
    assert against[1:] == ["reference"] * 3
    difference = table.differences.to_statistics[None].estimate
    expected = f"{signed(difference.mean)}{signed(difference.low)} to {signed(difference.high)}"
    assert page.rows[-1][0] == "default" and page.rows[-1][1] == expected


def test_the_page_stands_alone(whole: Path) -> None:
    page, text = Page(whole / "benchmark.html"), (whole / "benchmark.html").read_text()
    assert all(source.startswith("data:") for source in page.sources())
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 5 + 2 and all(image["alt"] for image in images)
    for image in images:
        assert b"<svg" in base64.b64decode((image["src"] or "").partition(",")[2])
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(attrs.get("class") == "scroll" for _, attrs in page.tags) == 2  # wide ones scroll in a box


def test_the_csv_has_a_row_a_cell(whole: Path) -> None:
    frame = pd.read_csv(whole / "benchmark.csv")
    pd.testing.assert_frame_equal(frame, csv_rows(build_table(results())))
    assert len(frame) == 2 * 18 * 3


def test_the_markdown_has_the_tables(whole: Path) -> None:
    text, table = (whole / "benchmark.md").read_text(), build_table(results())
    assert text.splitlines()[2] == headline(table) and "* one remark on the run" in text
    rows = {cells[0]: cells[1:] for line in text.splitlines() if len(cells := line.strip("| ").split(" | ")) == 5}
    assert list(rows)[2:] == [
        "baseline, MSE",
        "baseline, Mahalanobis",
        "mel-statistics",
        *(f"{loss}, {kind}" for loss in ("L_recon", "+ L_class", "+ L_contr") for kind in KINDS),
        "fused + latent",
        "fused + untrained",
        "default",
    ]
    spreads, official = table.spreads["valve", "default"], table.official["default"].spread
    source, target, pauc, hmean = (spreads[name] for name in ("auc_source", "auc_target", "pauc", "hmean"))
    assert source and target and pauc and hmean
    areas = f"{points(source.mean)} / {points(target.mean)} / {points(pauc.mean)}"
    assert rows["default"][1] == f"{areas} - {points(hmean.mean)} ({points(hmean.sd)})"
    assert rows["default"][2] == f"{points(official.mean)} ({points(official.sd)})"
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {5, 6}  # two machines: every row of a table is as wide as its head


KINDS = ("knn-feature", "knn-score", "lof-feature", "lof-score")


def test_the_same_results_give_the_same_files(whole: Path, tmp_path: Path) -> None:
    write_benchmark(results()[::-1], tmp_path, about())
    assert all((tmp_path / name).read_bytes() == (whole / name).read_bytes() for name in FILES)


def test_the_first_sentence_of_a_default_that_wins() -> None:
    table = build_table(results())
    found = table.differences.of_default()
    official, fan, valve = (found[name].estimate for name in (None, "fan", "valve"))
    assert official.low > 0.0 and fan.mean > 0.0 and valve.mean > 0.0
    first, last = sorted((("fan", fan.mean), ("valve", valve.mean)), key=lambda each: each[1])
    assert headline(table) == (
        f"The default beats the better official baseline (Mahalanobis) by {100 * official.mean:.1f} points in the "
        f"official score (95% interval {signed(official.low)} to {signed(official.high)}), ahead on 2 of 2 machines "
        f"({signed(first[1])} on {first[0]} to {signed(last[1])} on {last[0]}); its AUC is nowhere below chance, "
        "and it is nowhere more than 2 points below mel-statistics."
    )


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (
            [few(default=-1.0)],
            ["does not beat the better official baseline (MSE): ", "points behind", "ahead on 0 of 1"],
        ),
        (
            [few(default=-1.0)],
            ["AUC is below chance on fan ", " and fan ", "more than 2 points below mel-statistics on fan (-"],
        ),
        ([few(default=0.65)], ["not clearly better than the better official baseline (MSE): ", " points ahead in the"]),
        (
            [make_results("fan", {"default": 1.0})],
            ["was not compared with an official baseline", "there is no mel-statistics"],
        ),
        ([few()], ["The default has no result yet"]),
        (
            [few(default=2.0), few("valve"), few("slider", default=2.0)],
            ["in the official score over fan, slider (95%", "ahead on 2 of 2 machines"],
        ),
        (
            [
                make_results("fan", {"baseline-mse": 0.3, "default": 2.0}, seeds=(0,)),
                make_results("valve", {"baseline-mse": 0.3, "default": 2.0}, seeds=(1,)),
            ],
            ["The default is ahead of the better official baseline on 2 of 2 machines ("],
        ),
    ],
    ids=["loses", "below chance", "not clear", "alone", "no default", "a part", "no common seed"],
)
def test_the_first_sentence_says_how_it_is(given: list[BenchmarkScores], parts: list[str]) -> None:
    sentence = headline(build_table(given))
    assert sentence.endswith(".") and "\n" not in sentence
    for part in parts:
        assert part in sentence


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    fan, blind = few(default=2.0), replace(few("valve"), clips=make_clips().assign(condition="unknown"))
    del fan.scores["default", 2]
    said = missing(build_table([fan, blind]), ("fan", "valve", "slider", "bearing"), SEEDS)
    assert said[0] == "There are no results for slider, bearing."
    assert said[1].startswith("No machine has results of baseline-mahalanobis, recon/knn-feature, ")
    assert said[2:] == [
        "fan has no result of default with seed 2.",
        "valve has no result of default with seed 0, 1, 2.",
        "The test clips of valve are not labelled both normal and anomalous, so nothing can be measured.",
    ]
    page = page_of([fan, blind], tmp_path, machines=("fan", "valve", "slider", "bearing"))
    assert all(sentence in page.text for sentence in said)
    assert "Nothing could be measured." in page.text
    assert page.row("baseline, MSE")[-1] == DASH
    assert all(f"* {sentence}" in (tmp_path / "out" / "benchmark.md").read_text() for sentence in said)


def test_nothing_is_missing_of_a_complete_benchmark() -> None:
    assert missing(build_table(results()), ("valve", "fan"), SEEDS) == []


def test_an_official_score_over_fewer_machines_says_so(tmp_path: Path) -> None:
    page = page_of([few(default=2.0), few("valve")], tmp_path)
    assert "official score of the default on 1 machine" in page.text
    assert page.row("default")[0].endswith("1 machine") and not page.row("mel-statistics")[0].endswith("machines")
    assert " on 1 machines |" not in (text := (tmp_path / "out" / "benchmark.md").read_text())
    assert " on 1 machine |" in text


@pytest.mark.parametrize(
    "given",
    [
        [make_results("fan", {"default": 1.0}, seeds=(0,))],
        [few(default=1.0)],
        [replace(few(default=1.0), clips=make_clips(("none",), 30))],
        [replace(few(default=1.0), clips=make_clips().assign(condition="unknown"))],
        [make_results("fan", {"recon/knn-score": 1.0, "recon+class/knn-score": 1.2})],
        [make_results("fan", {"default": 99.0, "baseline-mse": -99.0})],
    ],
    ids=["one cell", "few methods", "no domains", "blind", "ablation alone", "perfect and perfectly wrong"],
)
@pytest.mark.filterwarnings("error")
def test_any_part_of_the_results_makes_a_page(given: list[BenchmarkScores], tmp_path: Path) -> None:
    page = page_of(given, tmp_path, notes=[], machines=("fan",))
    assert page.text.count("Benchmark of 1 machine ") == 2


def test_one_seed_is_said_to_say_nothing_about_seeds(tmp_path: Path) -> None:
    said = "With one seed they do not include the variation between seeds."
    assert said in page_of([make_results("fan", {"default": 1.0, "baseline-mse": 1.0}, seeds=(4,))], tmp_path).text
    assert said not in page_of([few(default=1.0)], tmp_path).text


def test_hostile_names_are_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>|<img src=http://evil/x onerror=alert(1)>\n# x $y$"
    given = [few(hostile, default=1.0), few(r"$\nosuch$", default=1.0)]
    page = page_of(given, tmp_path, notes=[hostile], command=hostile, schedule=hostile)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert all(source.startswith("data:") for source in page.sources())
    text = (tmp_path / "out" / "benchmark.md").read_text()
    assert "\n# x" not in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")} <= {5, 6}


def test_nothing_is_written_of_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MasdError, match="no scores to show"):
        write_benchmark([], tmp_path / "out", about())
    assert not (tmp_path / "out").exists()
