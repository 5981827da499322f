"""The clip table of a machine's folder, from the names of files and folders and from an attribute table."""
