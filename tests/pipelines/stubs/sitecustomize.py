"""On PYTHONPATH of a local run: stands in for the modules that do the work, to test the pipeline alone."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

STUBS = {
    "masd.alarms.step": "alarms.py",
    "masd.lifecycle.steps": "steps.py",
    "masd.registry.registry": "registry.py",
    "masd.drift.check": "drift.py",
    "masd.evaluation.pages.summary": "summary.py",
    "serving.package": "package.py",
    "pipelines.local.libraries": "libraries.py",
}


class _Finder:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in STUBS:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).parent / STUBS[name])


sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
