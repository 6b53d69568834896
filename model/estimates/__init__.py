"""Estimates of what editing each node would do, and why they differ from what is measured."""
