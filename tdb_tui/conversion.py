"""Values of the command line that are texts already: nothing is imported to convert them.

Typer converts every value by pydantic, texts too, and importing that takes a third of the time to the first frame.
"""

from collections.abc import Sequence
from typing import Any

from typer import Context


class AsTyped:
    """Stands where Typer keeps how a parameter is converted; what is no text is left to Typer."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as Typer gives it."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if param.type_descriptor.annotation is str and isinstance(value, str):
            return value
        if several and _are_texts(value) and param.type_descriptor.annotation == list[str]:
            return list(value)
        param._runtime_param = None  # Typer then makes its own
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(each, str) for each in value)
    )


def leave_texts(command: Any) -> None:
    """Convert a command's values only where they are no texts; where Typer has no such place, all as it does."""
    for param in command.get_params(Context(command)):  # --help among them
        if hasattr(param, "_runtime_param"):
            param._runtime_param = AsTyped()
