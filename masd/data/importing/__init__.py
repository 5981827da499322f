"""Recordings of acquisition systems, as clips that masd trains on: one small file per format, and one table of them."""
