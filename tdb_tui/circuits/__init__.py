"""Drafts of circuits: what was found, as a list of nodes and edges."""
