"""What most steps import: a run imports it once, and its tasks are forks of the process that has done so."""

import masd.bundle.bundle
import masd.evaluation.evaluate
import masd.evaluation.pages.report  # noqa: F401
