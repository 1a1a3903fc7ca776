"""Datasets in formats that others' code reads, a format a module; `source` has what all of them read and write alike."""
