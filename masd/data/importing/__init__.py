"""Import recordings of acquisition systems as clips: one file per format, and one table of the formats."""
