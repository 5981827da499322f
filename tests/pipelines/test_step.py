"""The lines by which a component says how its step went."""

import pytest

from components.step import StepLine, step
from masd.errors import MasdError


def test_lines_can_be_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    with step("train", "fan"):
        pass
    with step("report"):
        pass
    # Runners put colours, dashes and indentation in front.
    found = [StepLine.find(f"------ [96m   {line}\n") for line in capsys.readouterr().out.splitlines()]
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
    last = StepLine.find(capsys.readouterr().out.splitlines()[-1])
    assert last == StepLine("train", "the fleet", "failed", said)
    assert str(last) == f"train of the fleet failed: {said}"


def test_other_lines_are_not_mistaken_for_one() -> None:
    assert StepLine.find("train of fan started") is None
    assert StepLine.find("") is None
