"""The HTML pages: the report of a model, the comparison of two, the summary of a run."""
