"""What is exported, read back: a page that stands alone, tables, graphs, pictures."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tdb_tui.engine import Engine
from tdb_tui.files.exporting import EXPORTS, MAPS, ROWS
from tests.sessions import begin, do, fail, load, write_model

VOID = {"meta", "br", "img", "rect"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Page(HTMLParser):
    """A page as its tags, texts and attributes; every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")
        ]
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_page_shows_the_investigation_and_needs_nothing_from_elsewhere(engine: Engine) -> None:
    session = begin(engine)
    do(
        session, "ablate L0H0", "patch L2H1 from B", "disable i2", "sweep patch resid_pre", "trace L3H0@END",
        "note '<script>alert(1)</script>'", "circuit new it", "circuit add L0H0@END", "export it.html",
    )  # fmt: skip
    text = Path("it.html").read_text()
    page = Page(text)
    said = "".join(page.texts)
    for part in (
        "Trail",
        "trace L3H0@13",
        "i1 * ablate L0H0",
        "i2 off patch L2H1",
        "Sweep",
        "Attention",
        "Circuit",
        "Notes",
    ):
        assert part in said
    assert (
        page.links == []
        and "script" not in page.tags
        and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    assert "<script>alert(1)</script>" in said  # as text
    assert page.tags.count("figure") <= MAPS and page.tags.count("svg") == page.tags.count("figure") + 1
    assert page.tags.count("tr") == ROWS + 1 + 3
    assert all(command in said for command in session.done)


def test_the_maps_of_a_page_are_the_patterns(engine: Engine) -> None:
    session = begin(engine)
    do(session, "attn L2H1", "export it.html")
    first = (
        Path("it.html").read_text().partition("<figcaption>L2H1</figcaption>")[2].partition("</figure>")[0]
    )
    shown = [
        float(each.text.rpartition(": ")[2])
        for each in ElementTree.fromstring(first).iter()
        if each.tag.endswith("title") and each.text
    ]
    pattern = session.snapshot.now.pattern(session.state.head)
    expected = [weight for query, row in enumerate(pattern) for weight in row[: query + 1]]
    assert shown == pytest.approx(expected, abs=0.0005)


def test_tables_hold_the_same_numbers(engine: Engine) -> None:
    session = begin(engine)
    do(session, "rank heads -n 0", *(f"export it.{suffix}" for suffix in ("json", "jsonl", "csv")))
    rows = json.loads(Path("it.json").read_text())["rows"]
    lines = [json.loads(line) for line in Path("it.jsonl").read_text().splitlines()]
    assert lines == rows
    for row, read in zip(rows, csv.DictReader(Path("it.csv").read_text().splitlines()), strict=True):
        assert row["node"] == read["node"] and float(read["direct"]) == row["direct"]


@pytest.mark.parametrize("suffix", EXPORTS)
def test_every_suffix_is_written_and_control_characters_stay_out(engine: Engine, suffix: str) -> None:
    session = begin(engine, " Mary \x1b[31m went to", None)
    do(session, f"export it{suffix}")
    assert Path(f"it{suffix}").stat().st_size > 90
    assert suffix in (".json", ".jsonl", ".py") or "\x1b" not in Path(f"it{suffix}").read_text()


def test_graphs_and_pictures_are_well_formed(engine: Engine) -> None:
    session = begin(engine)
    do(session, "export a.svg", "export a.dot", "sweep patch resid_pre", "circuit new it", "circuit add L0H0@END", "export b.svg", "export b.dot")  # fmt: skip
    for name in ("a", "b"):
        ElementTree.fromstring(Path(f"{name}.svg").read_text())
        dot = Path(f"{name}.dot").read_text()
        assert dot.startswith("digraph") and dot.count("{") == dot.count("}")
    assert "L0H0" in Path("b.dot").read_text()


def test_any_command_writes_a_page(engine: Engine) -> None:
    session = begin(engine)
    do(session, "logits --out it.html", "sweep ablate heads --out sweep.html")
    assert "Rows" in "".join(Page(Path("it.html").read_text()).texts)
    assert "svg" in Page(Path("sweep.html").read_text()).tags


def test_another_suffix_is_one_sentence(engine: Engine) -> None:
    assert str(fail(begin(engine), "export it.docx").error).startswith("cannot write .docx: .html, .md")
