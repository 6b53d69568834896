"""What only a large screen has room for: token numbers, prompt B below A, the heads of a layer, the program's name."""

from textual.pilot import Pilot

from tdb_tui import __version__
from tdb_tui.app import TdbApp
from tdb_tui.panes.arrangement import Wishes, arrange
from tests.ui.screens import play, press, rows, screen, type_line

B = "When Mary and Anna went to the store, Mary gave a drink to"
UNEVEN = "When Mary and Anna went to the store, gave a drink to"


def test_tokens_are_numbered_where_a_row_has_room_for_that() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert rows(app)[1] == (
            " 0 ⊢ │ 1 When │ 2 Mary │ 3 and │ 4 John │ 5 went │ 6 to │ 7 the │ 8 store │ 9 , │ 10 John │ 11 gave │ 12 a"
            " │ 13 drink │[14 to]"
        )
        assert rows(app)[0].startswith(f"tdb-tui {__version__} │ gpt2-random │ ")
        await press(app, pilot, "h", "h")
        assert " 11 gave │[12 a]│ 13 drink │ 14 to" in rows(app)[1]

    play(body, size=(200, 50))


def test_prompt_b_stands_below_a_token_below_token() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        before = rows(app)
        await type_line(app, pilot, f"prompt B {B}")
        assert app.session is not None and app.session.snapshot.other is not None
        shown = rows(app)
        assert shown[3].startswith("B⊢│When Mary and Anna went to the store│, Mary gave a drink to")
        assert shown[3].endswith(f"prompt B: ld {app.session.snapshot.other.value:+.2f}")
        assert shown[1] == before[1] and shown[4][:8] == before[3][:8] == "─1 code─"
        await press(app, pilot, "h", "h", "h")
        assert rows(app)[1].startswith(" ⊢│When Mary and John went to the store│, John[gave]a drink to")
        await type_line(app, pilot, f"prompt B {UNEVEN}")
        assert rows(app)[3].startswith("B⊢│When Mary and Anna went to the store│, gave a drink to")
        await type_line(app, pilot, "undo 2")
        assert rows(app)[3].startswith("─1 code─")

    play(body, size=(120, 40))


def test_a_small_screen_has_no_row_for_prompt_b() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, f"prompt B {B}")
        assert rows(app)[3].startswith("─1 code─")

    play(body, size=(80, 24))


def test_a_token_narrower_than_the_one_below_it_keeps_its_brackets_close() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, f"prompt B {B.replace('Anna went', 'the went')}")
        await type_line(app, pilot, f"prompt {B.replace('Anna went', 'a went')}")
        await type_line(app, pilot, "token @4")
        assert "and[a]  went" in rows(app)[1] and "and the went" in rows(app)[3]

    play(body, size=(120, 40))


def test_every_head_of_the_layer_has_a_small_row() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert "heads of layer 0, from @END" in screen(app) and ">H0" in screen(app)
        await press(app, pilot, "right_square_bracket", "right_curly_bracket")
        assert "heads of layer 1, from @END" in screen(app) and ">H1" in screen(app)
        await press(app, pilot, "h")
        assert "heads of layer 1, from @13" in screen(app)
        view = app.main.heads.view
        assert view is not None and view.values.shape == (8, 15)

    play(body, size=(200, 50))


def test_the_small_rows_leave_room_for_what_comes_next() -> None:
    for heads in (1, 4, 12, 25):
        for height in (30, 40, 50, 60):
            boxes = arrange(200, height, Wishes(heads=heads)).boxes
            assert boxes["next"][3] >= 3
            if "heads" in boxes:
                assert boxes["heads"][1] + boxes["heads"][3] == boxes["next"][1]
