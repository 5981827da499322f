"""Official metrics, the challenge's result files, the report and the quality gate."""
