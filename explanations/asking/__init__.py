"""Asking a language model: what a component does, and what an explanation predicts."""
