"""Explanations without a language model: tables over what can be read off the text, fitted, worded and scored.

This is the baseline that Bills et al. (2023, "token lookup table") put beside their explanations.
"""
