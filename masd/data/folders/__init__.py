"""A machine's folder of recordings -> its clip table, from the names of files and folders and an attribute table."""
