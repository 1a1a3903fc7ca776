"""Decisions, before any pixel: specs (distributions), recipes (values of one sample), and how one becomes the other."""
