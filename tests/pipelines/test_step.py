"""The lines by which a component says how its step went."""

import pytest

from components.step import StepLine, step
from masd.data.findings import Finding, say
from masd.errors import MasdError
from masd.progress import MARK, ConsoleProgress


def test_lines_can_be_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    with step("train", "fan"):
        pass
    with step("report"):
        pass
    # Runners put dashes and indentation in front.
    found = [_read(f"------    {line}\n") for line in capsys.readouterr().out.splitlines()]
    assert [(line.step, line.machine, line.state) for line in found if line] == [
        ("train", "fan", "started"),
        ("train", "fan", "done"),
        ("report", "", "started"),
        ("report", "", "done"),
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MasdError("fan: no clips;\n  add some"), "fan: no clips; add some"),
        (ValueError("done: 3 of 4"), "ValueError: done: 3 of 4"),
    ],
)
def test_an_error_is_one_line_and_raised_on(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)), step("train", "the fleet"):
        raise error
    last = _read(capsys.readouterr().out.splitlines()[-1])
    assert last == StepLine("train", "the fleet", "failed", error=said)
    assert str(last) == f"train of the fleet failed: {said}"


def test_other_lines_are_not_mistaken_for_one() -> None:
    assert StepLine.read("train of fan started") is None
    assert StepLine.read('{"step": "train"}') is None
    assert StepLine.read('["train", "fan", "started"]') is None
    assert StepLine.read("") is None


def test_a_runner_finds_progress_and_findings_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("warning", "clipped", "3 clips are clipped")
    with step("featurize", "fan"):
        say("fan", [finding])
        with ConsoleProgress("featurize fan") as progress:
            progress(7, 7, "fan")
    say("fan", [finding])
    lines = ["warning: fan: 3 clips are clipped", "featurize fan: 7/7 fan"]
    assert capsys.readouterr().err.splitlines() == [*(f"{MARK}{line}" for line in lines), lines[0]]


def _read(line: str) -> StepLine | None:
    return StepLine.read(line.partition(MARK)[2])
