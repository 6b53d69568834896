"""The terminal application: one screen, one engine thread, and lines of text between them."""

import asyncio
import signal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from textual.events import Event, Key, Paste

from tdb_tui.errors import CommandError
from tdb_tui.panes.entering import Entering

if TYPE_CHECKING:
    from tdb_tui.panes.menu import Item


class TdbApp(Entering, inherit_bindings=False):
    """What keys and the mouse do that is no command."""

    CSS_PATH = "app.tcss"

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _: self.main.refresh(layout=True))
        for number in (signal.SIGHUP, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._ended, 128 + number)

    async def on_event(self, event: Event) -> None:
        """Keys are dealt with here and now, in the order pressed, unless the menu is open."""
        if not isinstance(event, Key | Paste) or event.is_forwarded or self.screen is not self.main:
            await super().on_event(event)
        elif isinstance(event, Key):
            await self.main.take(event)
            self.diary.write_down(self._head is not None)
        else:
            self.main.paste(event.text)

    def copy(self, text: str, said: str) -> None:
        from tdb_tui.machine.clipboard import copy

        where = copy(text, lambda asking: self._driver.write(asking) if self._driver else None)
        self.main.log_pane.write([f"copied {said}: {where}"])
        self.main.log_pane.update()

    def action_picture(self) -> None:
        """The screen as an SVG file, in the directory where the program was started."""
        from tdb_tui.files.output import write_whole

        name = next(name for n in count(1) if not (name := Path(f"tdb-tui-{n}.svg")).exists())
        try:
            write_whole(name, self.export_screenshot(title="tdb-tui"))
        except CommandError as error:
            self.complain(str(error))
        else:
            self.main.log_pane.write([f"the screen is in {name}"])
            self.main.log_pane.update()

    def action_escape(self) -> None:
        if self.worker.running is not None and self.worker.running.line is not None:
            self.action_cancel()
        elif not self.main.close() and not self.main.unfilter():
            self.main.show_hints()
            if self.main.look is not None and self.main.look.marks:
                self.submit("mark --clear")

    def action_leave(self) -> None:
        if not self.main.close():
            self.action_quit_asking()

    def action_menu(self) -> None:
        from tdb_tui.panes.menu import Menu, command_items, key_items

        items = key_items(self.main.active, self.main.keymap)
        if self.session is not None:
            from tdb_tui.commands import registry

            items += command_items(registry)
        self.push_screen(Menu(items), self._chosen)

    def action_menu_of_pane(self) -> None:
        from tdb_tui.panes.menu import Menu, pane_items

        self.push_screen(Menu(pane_items(self.main.active, self.main.keymap)), self._chosen)

    async def _chosen(self, item: "Item | None") -> None:
        if item is None or not (item.command or item.key):
            return
        if item.command:
            self.main.open_line(f"{item.command} ")
        else:
            await self.main.act(self.main.keymap.by_key[item.key])
