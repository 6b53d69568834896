"""Where panes stand, at every size."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tdb_tui.panes.arrangement import LEAST_HEIGHT, LEAST_WIDTH, VIEWS, Wishes, arrange

wishes = st.builds(
    Wishes,
    view=st.sampled_from(VIEWS),
    zoom=st.sampled_from([None, "log", "code", "rank", "attn"]),
    half=st.booleans(),
    columns=st.integers(1, 3),
    token_rows=st.integers(1, 4),
)


@given(st.integers(LEAST_WIDTH, 300), st.integers(LEAST_HEIGHT, 90), wishes)
def test_panes_cover_the_screen_once(width: int, height: int, wanted: Wishes) -> None:
    boxes = arrange(width, height, wanted).boxes
    assert sum(w * h for _, _, w, h in boxes.values()) == width * height
    for (x, y, w, h), (x2, y2, w2, h2) in combinations(boxes.values(), 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    assert all(0 <= x and 0 <= y and x + w <= width and y + h <= height for x, y, w, h in boxes.values())


@given(st.integers(LEAST_WIDTH, 300), st.integers(LEAST_HEIGHT, 90), wishes)
def test_the_listing_the_log_and_the_command_line_are_always_there(
    width: int, height: int, wanted: Wishes
) -> None:
    boxes = arrange(width, height, wanted).boxes
    needed = (
        {"title", "tokens", "line", "hints", wanted.zoom} if wanted.zoom else {"code", "log", "line", "hints"}
    )
    assert needed <= boxes.keys()
    assert all(w > 0 and h > 0 for _, _, w, h in boxes.values())


@given(st.integers(10, 300), st.integers(3, 90))
def test_a_terminal_too_small_keeps_the_command_line(width: int, height: int) -> None:
    if width >= LEAST_WIDTH and height >= LEAST_HEIGHT:
        return
    boxes = arrange(width, height, Wishes()).boxes
    assert boxes.keys() == {"small", "prompt", "line"}
