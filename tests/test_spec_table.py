"""Every command with its abbreviation, every complaint: one row each, as a user meets it."""

import re
from pathlib import Path

import pytest

from tdb_tui.commands import registry
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import begin, do, fail, load, said, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


WORDS = {
    "help": "h help", "next": "n next", "step": "s step", "return": "r return", "until": "unt until",
    "continue": "c cont continue", "jump": "j jump", "break": "b break", "tbreak": "tbreak", "clear": "cl clear",
    "disable": "disable", "enable": "enable", "condition": "condition", "ignore": "ignore", "commands": "commands",
    "where": "w where bt", "up": "u up", "down": "d down", "list": "l list", "ll": "ll", "args": "a args", "print": "p print",
    "pp": "pp", "whatis": "whatis", "display": "display", "undisplay": "undisplay", "rv": "rv retval", "alias": "alias",
    "unalias": "unalias", "run": "run restart", "interact": "interact py", "quit": "q quit exit",
    "rn": "rn reverse-next", "rs": "rs reverse-step", "rc": "rc reverse-continue", "watch": "watch", "info": "info",
    "set": "set", "show": "show", "source": "source", "apropos": "apropos", "history": "history", "echo": "echo",
    "assert": "assert", "rank": "rk rank", "trace": "tr trace", "attn": "attn", "logits": "lg logits", "lens": "lens",
    "top": "top", "diff": "diff", "upstream": "ut upstream", "neurons": "neurons", "features": "features", "view": "v view",
    "ablate": "ab ablate", "patch": "pt patch", "freeze": "freeze", "steer": "steer", "prompt": "prompt",
    "target": "target", "distractor": "distractor", "undo": "undo", "redo": "redo", "delete": "delete", "reset": "reset",
    "note": "note", "circuit": "circuit", "save": "save", "load": "load", "export": "export",
    "checkpoint": "checkpoint", "tutor": "tutor",
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_a_command_answers_to_the_words_that_users_of_pdb_and_gdb_type(name: str) -> None:
    assert {registry.find(word).name for word in WORDS[name].split()} == {name}


ANSWERS = (
    ("h", r"running   n\(ext\).*"),
    ("h n", r"next \| n  \[COUNT\]"),
    ("h nodes", r"L2H3 .*"),
    ("h L1H3", r"L1H3@END  head"),
    ("n", r"E  Δ [-+]\S+  lens [-+]\S+  top-1 '.*' \(\S+\)"),
    ("n ;; s", r"--Call-- A0, 4 heads and the bias"),
    ("n ;; s ;; r", r"--Return-- A0  Δ .*"),
    ("unt A2", r"M1  Δ .*"),
    ("unt 3", r"M0  Δ .*"),
    ("j A1", r"> A1 attn @END \(view only, nothing recomputed\)"),
    ("b A1, ld < 0", r"Breakpoint 1 at A1 \(line 3\) if ld < 0"),
    ("b any, ld > 1e9", r"Breakpoint 1 at any line if ld > 1e9"),
    ("b L1H3", r"Breakpoint 1 at A1 \(line 3\)"),
    ("tbreak M2", r"Temporary breakpoint 1 at M2 \(line 6\)"),
    ("b A1 ;; cl 1", r"Deleted breakpoint 1 at A1"),
    ("b A1 ;; cl A1", r"Deleted breakpoint 1 at A1"),
    ("b A1 ;; b A2 ;; cl --all", r"Deleted breakpoint 1 at A1"),
    ("cl", r"No stops"),
    ("b A1 ;; disable 1", r"Disabled breakpoint 1 at A1"),
    ("b A1 ;; disable b1 ;; enable b1", r"Enabled breakpoint 1 at A1"),
    ("watch ld ;; disable w1", r"Disabled watch 1: ld"),
    ("display ld ;; disable d1", r"Disabled display 1: ld"),
    ("ablate L0H1 ;; disable i1", r"Disabled i1 \(ablate L0H1@\* zero\)   metric .*"),
    ("b A1 ;; condition 1 ld < 0", r"New condition set for breakpoint 1\."),
    ("b A1, ld < 0 ;; condition 1", r"Breakpoint 1 is now unconditional\."),
    ("b A1 ;; ignore 1 2", r"Will ignore next 2 crossings of breakpoint 1\."),
    ("b A1 ;; ignore 1", r"Will stop next time breakpoint 1 is reached\."),
    ("b A1 ;; commands 1: silent ;; p ld ;; c", r"Commands of breakpoint 1: silent ;; p ld ;; c"),
    ("b A1 ;; b A2 ;; commands: p ld", r"Commands of breakpoint 2: p ld"),
    ("w", r"> 0 ' Mary' - ' John' @END  \S+"),
    ("trace L3H1@END ;; u", r"frame 0: ' Mary' - ' John' @END.*"),
    ("a", r"model +random .*"),
    ("p ld", r"0"),
    ("p L1H3@END", r"L1H3@END  head"),
    ("pp L1H3@END", r"L1H3@END  head"),
    ("pp 1 / 3", r"0\.333333333333\d+"),
    ("whatis ld", r"number"),
    ("whatis rank(Mary)", r"whole number"),
    ("whatis kind", r"text"),
    ("whatis ld < 0", r"true or false"),
    ("whatis L1H3", r"head  L1H3  d_head 8  q, k and v from resid_pre\.1, before A1"),
    ("display ld", r"d1 ld: 0"),
    ("display ld ;; n", r"E  Δ .*"),
    ("display", r"Nothing is displayed: display EXPR"),
    ("display ld ;; undisplay 1", r"0 displayed"),
    ("n ;; rv", r"E  Δ .*"),
    ("alias", r"No aliases"),
    ("alias pi p %1 ;; p %*", r"pi = p %1 ;; p %\*"),
    ("run", r"reran in \d+ ms: \S+ \(baseline\)"),
    ("run --device cpu", r"reran in \d+ ms: \S+ \(baseline\) on cpu"),
    ("run --seed 3", r"reran in \d+ ms: \S+ \(baseline\)"),
    ("patch L0H1 from B ;; freeze --except L3H1", r"i2 freeze --except L3H1@\*,L0H1@0:13 .*"),
    ("rank heads by patch @END -n 3", r"#  node .*patched.*"),
    ("attn L1H3 --ov", r"L1H3@END writes from .*"),
    ("set seed 3", r"seed is 3: .*"),
    ("q 3 --save kept.json", r"saved kept\.json"),
    ("q --save kept.json", r"saved kept\.json"),
    ("n 3 ;; rn", r"A0  Δ .*"),
    ("n ;; rc", r"At the start of the pass"),
    ("watch rank('Mary') == 1", r"Watch 1: rank\('Mary'\) == 1"),
    ("watch ld by 0.5", r"Watch 1: ld by 0\.5"),
    ("b A1 ;; info stops", r"b1  keep  y  A1  hits 0"),
    ("info interventions", r"No interventions"),
    ("info frames", r"> 0 .*"),
    ("info aliases", r"No aliases"),
    ("info sae", r"No SAE loaded"),
    ("info circuit", r"No circuit in use"),
    ("set $nm = L1H2, L2H0", r"\$nm = L1H2,L2H0"),
    ("set $x = ld + 1", r"\$x = 1"),
    ("set pos S2=10", r"S2 is @10"),
    ("show", r"ablation  zero .*"),
    ("apropos breakpoint", r"list .*"),
    ("history", r"1  history"),
    ("history 2 /his", r"1  history 2 /his"),
    ("echo here we go", r"here we go"),
    ("neurons M1 -n 2", r"#  node .*"),
    ("rank heads by direct @END -n 3", r"#  node .*"),
    ("trace L2H1@END<Mary via q", r"frame 1: L2H1@END<Mary via q .*"),
    ("ut L2H1@END -d 1", r"L2H1@END.*"),
    ("lens @all -n 1", r"@0 .*"),
    ("lens A1", r"line +lens .*"),
    ("note L1H3 looks at the name", r"noted of L1H3: looks at the name"),
    ("note why is M0 so large", r"noted: why is M0 so large"),
    ("note", r"No notes"),
    ("circuit new ioi ;; circuit add L0H1 ;; circuit eval", r"circuit ioi: 1 node, 0 edges   keeps .* of .*"),
    ("tutor", r"── lesson 1/15 · the question "),
)


@pytest.mark.parametrize(("line", "first"), ANSWERS, ids=[line for line, _ in ANSWERS])
def test_a_command_answers_as_the_table_says(session: Session, line: str, first: str) -> None:
    reply = do(
        session, *(line.split(" ;; ") if not line.startswith("alias") and "commands" not in line else [line])
    )
    assert re.fullmatch(first, reply.lines[0]), said(reply)


FAILURES = (
    ("albate L1H3", "unknown command 'albate': did you mean 'ablate'? (! runs Python, h lists commands)", "albate"),
    ("di", "ambiguous 'di': diff, disable, display, distractor", "di"),
    ("b L1H14", "no head L1H14: random has heads 0–3 in layers 0–3", "L1H14"),
    ("b A12", "no line A12: the last is A3", "A12"),
    ("b Q9", "'Q9' isn't a node: write L9H9, A9, M9, N9.123, F9.123, E or U (h nodes)", "Q9"),
    ("p N1.99999", "N1.99999 is out of range: layer 1 has neurons 0–127", "N1.99999"),
    ("p F1.22", "no SAE loaded for layer 1: start with --sae PATH or use 'set sae PATH'", "F1.22"),
    ("attn L1H3 @Marry", "no token 'Marry' in the prompt: did you mean ' Mary' (1)?", "@Marry"),
    ("attn L1H3 @John", "' John' is at 3 and 9: write John#1, John#2 or an index", "@John"),
    ("attn L1H3@Mary<gave", "key 10 is after query 1: attention is causal", "L1H3@Mary<gave"),
    ("p ld +", "expression ends too early: 'ld +' needs a value after '+'", "+"),
    ("p foo", "unknown name 'foo' in expression: did you mean 'final'? (!foo for Python)", "foo"),
    ("p 1 + act(L1H3@Marry)", "no token 'Marry' in the prompt: did you mean ' Mary' (1)?", "L1H3@Marry"),
    ("p cos(L1H2, L9H9)", "no head L9H9: random has heads 0–3 in layers 0–3", "L9H9"),
    ("p rank(xyz) > 1", "token must be one token: ' xyz' is 4 (' ', 'x', 'y', 'z')", "xyz"),
    ("ablate L1H3 maen", "unknown mode 'maen': did you mean 'mean'?", "maen"),
    ("ablate L1H3 mean", "mean needs reference prompts: 'set means FILE' or 'set means positions'", "mean"),
    ("target Mary Smith", "target must be one token: ' Mary Smith' is 2 (' Mary', ' Smith')", "Mary"),
    ("condition 7 ld<0", "Breakpoint number 7 out of range", "7"),
    ("ignore x", "Breakpoint number expected", "x"),
    ("cl x", "Breakpoint number expected", "x"),
    ("n 8 ;; unt 3", '"until" line number is smaller than current line number', None),
    ("u", "Oldest frame", None),
    ("d", "Newest frame", None),
    ("rn", "At the start of the pass", None),
    ("rv", "Not yet returned: n executes a line", None),
    ("r", "not inside a line: s steps into an attention or MLP line", None),
    ("h zz", "No help for 'zz'", "zz"),
    ("h ablat3", "No help for 'ablat3': did you mean 'ablate'?", "ablat3"),
    ("source nope.tdb", "cannot read nope.tdb: no such file or directory", "nope.tdb"),
    ("load other.json", 'other.json isn\'t a tdb-tui session: missing "schema" (expected "tdb-session/1")', "other.json"),
    ("undo", "nothing to undo", None),
    ("redo", "nothing to redo", None),
    ("unalias x", "Unknown alias 'x': alias NAME COMMAND makes one", "x"),
    ("ablate $best", "no variable $best: give it a value with 'set $best = L9H9' or 'set $best = 2'", "$best"),
    ("ablate $marks", "nothing is marked: mark L1H2, or Space on a screen", "$marks"),
    ("set abltion mean", "unknown setting 'abltion': did you mean 'ablation'?", "abltion"),
    ("set ablation maen", "ablation cannot be 'maen': did you mean 'mean'?", "maen"),
    ("assert final > 1e9", "assertion failed: final > 1e9 (final = {value:+.4g})", None),
    ("features M1", "no SAE loaded: latents are ranked where there is one (rank neurons)", None),
    ("info foo", "info knows no 'foo'", "foo"),
    ("n 0", "0 is too small: a count is at least 1", "0"),
    ("j 99", "no line 99: the last is 9 (U)", "99"),
    ("b A1 ;; cl", "Clear the stop? cl --all does (or give numbers, a line)", None),
    ("export x.foo", "cannot write .foo: ", "x.foo"),
)  # fmt: skip


@pytest.mark.parametrize(("line", "message", "bad"), FAILURES, ids=[line for line, *_ in FAILURES])
def test_a_mistake_gets_one_sentence_and_its_word_is_marked(
    session: Session, line: str, message: str, bad: str | None
) -> None:
    Path("other.json").write_text("{}")
    error = fail(session, line).error
    assert error is not None
    assert error.message.startswith(message.format(value=session.snapshot.now.value))
    assert "\n" not in error.message and not error.message.endswith(".")
    assert error.col == (
        None if bad is None else line.rindex(bad) if bad in line.split()[1:] else line.index(bad)
    )


def test_a_patch_says_what_is_missing_of_prompt_b(engine: Engine) -> None:
    alone = begin(engine, prompt_b=None)
    error = fail(alone, "patch L1H3 from B").error
    assert error is not None
    assert (error.message, error.col) == ("no prompt B: set one with 'prompt B TEXT' or --prompt-b", 16)
    do(alone, "prompt B Mary and John went to the store, Mary gave a drink")
    error = fail(alone, "patch L1H3 from B").error
    assert error is not None
    assert (
        error.message
        == "A has 14 tokens and B has 13: give positions (patch L1H3@13 from B@12) or roles (set pos)"
    )
