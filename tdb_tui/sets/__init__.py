"""Prompt sets in a session: loaded, walked through, laid over each other, taken values from."""
