"""The language of the command line: words, nodes, positions, expressions, commands."""
