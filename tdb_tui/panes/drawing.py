"""What the terminal can show, and the last step of every row: its signs and colours made those there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.style import Style

from tdb_tui.glyphs import to_ascii
from tdb_tui.palette import in_sixteen, recoloured

FULL, SIXTEEN, NONE = "full", "16", "none"


@dataclass(frozen=True, slots=True)
class Drawing:
    ascii: bool = False
    colors: str = FULL
    "`full` is 256 and more."
    dark: bool = True
    "Whether the background is: full weights are then the light ones."
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    "Colours of the palette -> the user's own, where there are 256 and more."

    @property
    def greys(self) -> bool:
        """Whether weights can be told apart by grey."""
        return self.colors == FULL and not self.ascii

    def text(self, text: str) -> str:
        return to_ascii(text) if self.ascii else text

    def style(self, style: Style) -> Style:
        if self.colors == SIXTEEN:
            return in_sixteen(style)
        if self.others and style.color is not None and style.color.name in self.others:
            return recoloured(style, self.others[style.color.name])
        return style


WHOLE = Drawing()
"Every sign, and 256 colours."
