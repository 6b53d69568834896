"""Values of the command line that are texts already: nothing is imported to convert them.

Typer converts every value by pydantic, texts too, and importing that takes a third of the time to the first frame.
"""

from collections.abc import Callable, Sequence
from typing import Any

from typer import Context

RELIED_ON = ("get_runtime_param", "type_descriptor")
"What there must be of a parameter: no documented part of Typer, and older ones have neither."


class AsTyped:
    """Stands where Typer has what converts a parameter; what is no text is left to that."""

    def __init__(self, converter: Callable[[], Any]) -> None:
        """`converter` makes Typer's own."""
        self._converter = converter

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as Typer gives it."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if param.type_descriptor.annotation is str and isinstance(value, str):
            return value
        if several and _are_texts(value) and param.type_descriptor.annotation == list[str]:
            return list(value)
        return self._converter().coerce(value, param=param, ctx=ctx)


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(each, str) for each in value)
    )


def leave_texts(command: Any) -> None:
    """Convert a command's values only where they are no texts; where Typer has no such place, all as it does."""
    for param in command.get_params(Context(command)):  # --help among them
        if all(hasattr(param, name) for name in RELIED_ON):
            as_typed = AsTyped(param.get_runtime_param)
            param.get_runtime_param = lambda as_typed=as_typed: as_typed
