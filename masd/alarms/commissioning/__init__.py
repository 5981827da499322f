"""A calibration from a window of the inference log in which the machine was well."""
