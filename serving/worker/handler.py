"""TorchServe's entry point. It travels in the archive and must define exactly one class.

Nothing of masd is imported at the top: TorchServe answers an ImportError of this module by looking for a handler of its
own with this name, and reports that one as missing. Imported in ``initialize``, the true reason reaches the log.
"""

import logging
import os
import sys
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from masd.bundle.bundle import Bundle

LOAD_FAILED = "masd cannot load model "
"""Begins the line of the worker's log that says in one line why a model does not load."""

logger = logging.getLogger(__name__)


class ScoringHandler:
    """Scores batches of clips with one bundle: that of the archive it was unpacked from, or one that it is given."""

    def initialize(self, context: Any) -> None:
        """Load ``<model_dir>/bundle`` with the masd of the archive, even where another one is installed."""
        folder = Path(context.system_properties["model_dir"])
        sys.path.insert(0, str(folder))
        # TorchServe shows its operator what a worker writes to standard error, and keeps standard output to a file
        warnings = logging.StreamHandler(sys.stderr)
        warnings.setLevel(logging.WARNING)
        logging.getLogger().addHandler(warnings)
        try:
            self._load(folder, (context.model_yaml_config or {}).get("handler", {}))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())  # masd may be what cannot be imported
            logger.error("%s%s: %s", LOAD_FAILED, context.model_name, reason)
            raise

    def _load(self, folder: Path, settings: dict[str, Any]) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        from masd.bundle.bundle import load_bundle

        threads = int(settings.get("threads", 1))
        torch.set_num_threads(threads)
        threadpool_limits(threads)  # NumPy's and SciPy's, which know nothing of PyTorch's
        self.use(load_bundle(folder / "bundle"))

    def use(self, bundle: "Bundle") -> None:
        """Score with this bundle from now on."""
        from serving.worker.explain import Explainer
        from serving.worker.inference_log import LOG_VARIABLE, InferenceLog
        from serving.worker.metrics import BatchMetrics

        self._metrics = BatchMetrics()
        self._scorer = bundle.scorer
        self._explainer = None if bundle.usual is None else Explainer(bundle.scorer, bundle.usual)
        log_folder = os.environ.get(LOG_VARIABLE)
        self._log = InferenceLog(Path(log_folder), self._scorer.machine_type) if log_folder else None

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch: one JSON text per request, its HTTP status set on the context."""
        answers = self.answer(data, context)
        self.tell(context)
        return answers

    def tell(self, context: Any) -> None:
        """Report the metrics of the batch that was answered last."""
        self._metrics.tell(context.metrics)

    def answer(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """As :meth:`handle`, without its metrics."""
        from masd.files import json_text
        from serving.worker.batch import answer
        from serving.worker.metrics import BatchMetrics

        # TorchServe says so in a header of its own, for /explanations
        explained = [number for number in range(len(data)) if context.get_request_header(number, "explain") == "True"]
        self._metrics = metrics = BatchMetrics()
        replies = answer(self._scorer, data, self._log, self._explainer, explained, metrics)
        if self._log is not None:
            metrics.log(self._log.take_dropped(), self._log.waiting_bytes())
        for index, reply in enumerate(replies):
            context.set_response_content_type(index, "application/json")
            context.set_response_status(reply.status, HTTPStatus(reply.status).phrase, index)
        for fields in data:
            self._let_go(fields)
        return [json_text(reply.body) for reply in replies]

    @staticmethod
    def _let_go(fields: dict[str, Any]) -> None:
        """Empty the buffers of a request: TorchServe holds on to them until it has received the whole next batch."""
        for value in fields.values():
            if isinstance(value, bytearray):
                with suppress(BufferError):  # an error's traceback may still look at it
                    value.clear()
