"""Dictionaries trained and judged from the command line."""
