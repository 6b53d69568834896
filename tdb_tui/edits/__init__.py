"""Making edits, the stack of them, checkpoints, and what differs between two runs."""
