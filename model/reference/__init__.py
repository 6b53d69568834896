"""The second implementation that `verify` compares with."""
