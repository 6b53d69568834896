"""Sweeps: one edit after the other over a grid, as a picture."""
