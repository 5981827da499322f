"""torchaudio beside a CPU build of torch.

The PyPI wheel of torchaudio carries a native extension linked against CUDA and fails with OSError where torch is a CPU
build. What masd uses of torchaudio (mel filter banks, masking) is plain Python, so there the import is repeated with a
module in place of the extension.
"""

import importlib
import sys
from types import ModuleType


def import_torchaudio() -> ModuleType:
    """Return ``torchaudio``, without its native extension where that cannot be loaded."""
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
            del sys.modules[name]
        stand_in = ModuleType("torchaudio._extension")
        stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        stand_in._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
        stand_in.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
        sys.modules["torchaudio._extension"] = stand_in
        return importlib.import_module("torchaudio")
