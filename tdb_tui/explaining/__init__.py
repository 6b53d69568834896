"""Explanations made with a language model behind an OpenAI-compatible endpoint, or from data alone."""
