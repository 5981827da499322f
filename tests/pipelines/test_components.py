"""Every component is a thin shell: imports in its body, an image, a README that tells the truth."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import components
from components.base import IMAGE

FOLDER = Path(components.__path__[0])
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/component.py"))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _component(name: str) -> Any:
    return getattr(importlib.import_module(f"components.{name}"), name)


def test_all_are_there() -> None:
    assert set(NAMES) == {
        *("fingerprint", "featurize", "train", "fit_detectors", "controls", "evaluate", "gate", "package", "report"),
        *("alarms", "drift"),
    }


def test_module_level_has_only_what_the_declaration_needs(name: str) -> None:
    tree = ast.parse((FOLDER / name / "component.py").read_text(encoding="utf-8"))
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imported <= {"kfp", "components.base", "typing"}
    assert not [node for node in tree.body if isinstance(node, ast.Import)]


def test_body_is_a_few_lines(name: str) -> None:
    source = inspect.getsource(_component(name).python_func)
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert function.end_lineno is not None
    after_docstring = function.end_lineno - function.body[1].lineno + 1
    assert after_docstring <= 20


def test_image_installs_nothing(name: str) -> None:
    container = _component(name).component_spec.implementation.container
    assert container.image == IMAGE
    assert "pip install" not in " ".join(container.command)


def test_readme_names_inputs_and_outputs(name: str) -> None:
    text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    _, inputs, outputs = re.split(r"^## (?:Inputs|Outputs)$", text, flags=re.MULTILINE)
    spec = _component(name).component_spec
    assert re.findall(r"^\| `(\w+)`", inputs, re.MULTILINE) == list(_in_order(name, spec.inputs))
    assert sorted(re.findall(r"^\| `(\w+)`", outputs, re.MULTILINE)) == sorted(spec.outputs)


def _in_order(name: str, inputs: Any) -> list[str]:
    return [
        parameter for parameter in inspect.signature(_component(name).python_func).parameters if parameter in inputs
    ]
