"""What Tab offers, for each place of a command line."""

import pytest

from tdb_tui.language.completion import Completion, complete
from tdb_tui.language.registry import Registry
from tdb_tui.replies import Reply


def registry() -> Registry:
    found = Registry()

    def add(name: str, *complete: str, options: dict[str, bool] | None = None) -> None:
        @found.command(name, usage="", group="", examples=(), complete=complete, options=options)
        def act() -> Reply:
            """Do it."""
            return Reply()

    add("ablate", "node", "mode", options={"seed": True, "n": True, "all": False})
    add("apropos")
    add("break", "node", "expr")
    add("print", "expr")
    add("goto", "pos")
    return found


def echo(kind: str, beginning: str) -> list[str]:
    """Candidates that tell what was asked for."""
    return (
        ["ablater"]
        if kind == "alias" and not beginning.startswith("ap")
        else []
        if kind == "alias"
        else [f"{kind}:{beginning}"]
    )


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", ["ablate", "ablater", "apropos", "break", "goto", "print"]),
        ("a", ["ablate", "ablater", "apropos"]),
        ("n ;; ab", ["ablate", "ablater"]),
        ("zzz L9", []),
        ("!abl", []),
        ("# abl", []),
        ("apropos x", []),
        ("ablate ", ["node:"]),
        ("abl L9H", ["node:L9H"]),
        ("ablate L9H9,M", ["node:M"]),
        ("ablate L9H{6,9", ["node:9"]),
        ("ablate L9H{6,9}@M", ["pos:M"]),
        ('ablate L9H9@" Ma', ['pos:" Ma']),
        ("ablate L9H9@END<Jo", ["pos:Jo"]),
        ("ablate L9H9@2:J", ["pos:J"]),
        ("ablate $n", ["variable:$n"]),
        ("ablate L9H9 m", ["mode:m"]),
        ("ablate L9H9 @Ma", ["pos:Ma"]),
        ("ablate --seed 3 L9H9 --all m", ["mode:m"]),
        ("ablate --seed 3 L9H9 -n 4 ", ["mode:"]),
        ("ablate --se", ["--seed"]),
        ("ablate L9H9 --", ["--all", "--json", "--out", "--seed"]),
        ("ablate L9H9 -", ["--all", "--json", "--out", "--seed", "-n"]),
        ("ablate --out fi", ["file:fi"]),
        ("ablate --seed ", ["seed:"]),
        ("goto 2:", ["pos:"]),
        ("break A9 fin", ["final"]),
        ("print l", ["layer", "ld", "line", "logit("]),
        ("print ld > 0 and li", ["line"]),
        ("print rank(Ma", ["token:Ma"]),
        ("print ld + rank(' Ma", ["token:' Ma"]),
        ("print act(L9", ["node:L9"]),
        ("print cos(L9H9@END, M", ["node:M"]),
        ("print attn(END, J", ["pos:J"]),
        ("print attn(END, John#2, L", ["node:L"]),
        ("print base(fin", ["final"]),
        ("print max(rank(Mary), fin", ["final"]),
        ("print (ld + d", ["direct(", "dld"]),
        ("print $x", ["variable:$x"]),
        ("print L9", ["node:L9"]),
    ],
)
def test_what_is_offered_depends_on_the_place(line: str, offered: list[str]) -> None:
    found = complete(line, len(line), registry(), echo)
    assert list(found.candidates) == offered
    assert 0 <= found.start <= len(line)
    for candidate in offered:
        # whatever is replaced is what the candidate continues
        assert candidate.split(":", 1)[-1].startswith(line[found.start :])


def test_only_the_text_before_the_cursor_counts() -> None:
    assert complete("ab L9H9 mean", 2, registry(), echo) == Completion(0, ("ablate", "ablater"))


def test_candidates_share_their_common_beginning() -> None:
    assert Completion(0, ("ablate", "abort")).common == "ab"
    assert Completion(0, ("layer", "layer_norm")).common == "layer"
    assert Completion(0).common == ""
