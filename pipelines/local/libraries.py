# ruff: noqa: F401
"""What most steps import: a run imports it once, and its tasks are forks of the process that has done so."""

import kfp.dsl.executor_main
import sklearn.covariance
import sklearn.metrics

import masd.bundle.bundle
import masd.evaluation.evaluate
import masd.evaluation.pages.report
