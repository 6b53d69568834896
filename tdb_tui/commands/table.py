"""The one table of commands, which every module of this package adds to."""

from tdb_tui.language.registry import Registry

registry = Registry()
command = registry.command
