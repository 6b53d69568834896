"""Every command: what it answers, what it refuses and in which words, and that a refusal changes nothing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.sites import Site
from tdb_tui.commands import execute, registry
from tdb_tui.engine import Engine
from tdb_tui.errors import Interrupted
from tdb_tui.language.registry import Command, Repeat
from tdb_tui.session import Session
from tests.sessions import END, SHAPE, begin, do, fail, load, said, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.csv").write_text("prompt,target\n Mary and then,John\n John gave Mary a,drink\n")
    return begin(engine)


@pytest.fixture
def drawn(session: Session) -> Session:
    """On the bundled model: the words of the generators are not those of a small random one."""
    return begin(load(ROOT / "model" / "demo" / "gpt2-demo"))


def everything(session: Session) -> tuple[object, ...]:
    """All that a failing command must leave as it was."""
    return (
        session.snapshot,
        tuple(session.past),
        tuple(session.future),
        session.opening,
        tuple(session.done),
        session.saved,
        dict(session.python_names),
    )


ROOT = Path(__file__).parents[1]
BUSY = ("b A2", "watch ld by 3", "display ld", "ablate L0H0", "ablate M1@END", "undo", "n 3", "set pos IO=1")
"A session with something of everything in it."


# (line, code, column, message); the sentences are what people see, so they are pinned.
BAD = (
    (
        "albate L1H1",
        "unknown-command",
        0,
        "unknown command 'albate': did you mean 'ablate'? (! runs Python, h lists commands)",
    ),
    ("di", "ambiguous-command", 0, "ambiguous 'di': diff, disable, display, distractor"),
    ("n ;; zzz", "unknown-command", 5, "unknown command 'zzz' (! runs Python, h lists commands)"),
    ('p "ld', "bad-syntax", 2, "unclosed quote: \"ld needs a \" at its end"),
    ("b L1H14", "bad-node", 2, "no head L1H14: random has heads 0–3 in layers 0–3"),
    ("b A12", "bad-node", 2, "no line A12: the last is A3"),
    ("b 99", "bad-line", 2, "no line 99: the last is 9 (U)"),
    ("b ²", "bad-node", 2, "'²' isn't a node: write L9H9, A9, M9, N9.123, F9.123, E or U (h nodes)"),
    ("b Q9", "bad-node", 2, "'Q9' isn't a node: write L9H9, A9, M9, N9.123, F9.123, E or U (h nodes)"),
    ("b A2 ld > 0", "bad-argument", 5, "a condition follows a comma: b A2, ld > 0"),
    ("b any", "missing-argument", 2, "any needs a condition: b any, ld > 1"),
    (
        "b A2, foo",
        "bad-expression",
        6,
        "unknown name 'foo' in expression: did you mean 'final'? (!foo for Python)",
    ),
    ("p N1.99999", "bad-node", 2, "N1.99999 is out of range: layer 1 has neurons 0–127"),
    ("p F1.3", "no-sae", 2, "no SAE loaded for layer 1: start with --sae PATH or use 'set sae PATH'"),
    ("ablate X1", "no-sae", 7, "no SAE loaded for layer 1: start with --sae PATH or use 'set sae PATH'"),
    ("attn L1H2 @Marry", "bad-position", 10, "no token 'Marry' in the prompt: did you mean ' Mary' (1)?"),
    ("attn L1H2 @John", "bad-position", 10, "' John' is at 3 and 9: write John#1, John#2 or an index"),
    ("p L1H2@Marry", "bad-position", 2, "no token 'Marry' in the prompt: did you mean ' Mary' (1)?"),
    ("p L1H2@Mary<to#2", "bad-node", 2, "key 13 is after query 1: attention is causal"),
    ("attn M1", "bad-node", 5, "M1 has no attention pattern: name a head, as in L1H0"),
    ("attn", "missing-argument", None, "attn of which head: attn L1H3"),
    ("p ld +", "bad-expression", 5, "expression ends too early: 'ld +' needs a value after '+'"),
    ("p foo", "bad-expression", 2, "unknown name 'foo' in expression: did you mean 'final'? (!foo for Python)"),
    ("p 1 / 0", "bad-expression", 2, "division by zero: 1 / 0 has no value"),
    ("p top(0)", "bad-expression", 2, f"top takes a place from 1 to {SHAPE.n_vocab}: top(1)"),
    ("p cos(U, E)", "bad-node", 2, "U puts nothing out that could be replaced"),
    ("p L1H*", "bad-node", 2, "L1H* is 4 nodes, L1H0 to L1H3: name one"),
    ("p", "missing-argument", None, "print what: p ld, p L1H3@END"),
    ("ablate L1H2 maen", "bad-mode", 12, "unknown mode 'maen': did you mean 'mean'?"),
    ("ablate L1H2 xyz", "bad-mode", 12, "unknown mode 'xyz': zero, mean, resample, noise SD, value X, scale X, cut"),
    ("ablate L1H2 value", "missing-argument", 12, "value takes a number: value 0.5"),
    ("ablate L1H2 value x", "bad-number", 18, "'x' isn't a number"),
    ("ablate L1H2 value nan", "bad-number", 18, "'nan' isn't a number"),
    ("ablate L1H2 zero 3", "bad-argument", 17, "unexpected '3' after zero"),
    (
        "ablate L1H2 mean",
        "no-means",
        12,
        "mean needs reference prompts: 'set means FILE' or 'set means positions'",
    ),
    ("ablate U", "bad-node", 7, "U puts nothing into the stream: edit BU, the final bias, or what U reads"),
    ("ablate L1H2@2:5<1", "bad-node", 7, "a key needs one query: write L1H2@END<1"),
    ("ablate M1@3<1", "bad-node", 7, "M1 reads no key token: only heads do, as in L0H1@END<2"),
    ("ablate", "missing-argument", None, "ablate what: ablate L1H3, ablate M0@END"),
    ("patch L1H2 form B", "bad-argument", 11, "where from: patch NODES from B, or from B@13"),
    (
        "patch L1H2@2:5 from B@3",
        "bad-argument",
        6,
        "4 positions cannot take 1 positions' values: give as many on both sides",
    ),
    (
        "sweep",
        "missing-argument",
        None,
        "sweep what: sweep patch resid_pre, sweep ablate heads, sweep steer NODE += -4:4 * DIRECTION",
    ),
    ("sweep bake heads", "bad-argument", 6, "cannot sweep 'bake': sweep patch, sweep ablate, sweep steer"),
    ("sweep patch hesds", "bad-argument", 12, "no grid 'hesds': did you mean 'heads'?"),
    ("sweep patch heads @99", "bad-position", 18, "no token 99: the prompt has tokens 0–13"),
    ("sweep patch heads zero", "bad-argument", 18, "unexpected 'zero': sweep patch heads [@POS] [in NODES] from B"),
    ("sweep ablate heads zreo", "bad-mode", 19, "unknown mode 'zreo': did you mean 'zero'?"),
    ("edge", "missing-argument", None, "edit which edges: edge ablate L0H1 -> L2H1.q, edge keep circuit NAME"),
    ("edge ablate L2H1 -> L0H1.q", "bad-edge", 12, "L2H1 does not come before L0H1.q: an edge goes down the pass"),
    ("path", "missing-argument", None, "patch which path: path L0H1 -> L2H1.q from B"),
    ("path L0H1 -> E", "bad-node", 13, "E is no reader: heads, their q, k and v, A9, M9 and U are"),
    ("patch L1H2@2 from B@99", "bad-position", 18, "no token 99: prompt B has tokens 0–13"),
    ("patch L1H2@5<1 from B@3<4", "bad-node", 20, "key 4 is after query 3: attention is causal"),
    ("patch L1H2 from 3", "no-prompts", 16, "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts"),
    ("patch L1H2.pattern@2 from B@3", "bad-edit", 6,
     "an attention row is patched from that of the same query, since another sees other keys: patch pairs (patch L1H2@2<0 from B@3<0)"),
    ("ablate L1H2 noise", "missing-argument", 12, "noise takes a number: noise 0.5"),
    ("ablate L1H2 noise -1", "bad-number", 12, "-1.0 is no standard deviation: 0 or more"),
    ("ablate L1H2 noise 1 seed x", "bad-number", 25, "'x' isn't a seed"),
    ("ablate L1H2 noise 1 seeds 3", "bad-argument", 20, "unexpected 'seeds' after noise"),
    ("ablate L1H2 resample", "no-means", 12, "resample needs reference prompts: 'prompts ioi:50' or 'set means FILE'"),
    ("ablate L1H2@END cut", "bad-edit", 7, "cut is of a head's pair, a query and a key: ablate L1H2@END<2 cut"),
    ("ablate ln1_scale.1", "bad-edit", 7,
     "ln1_scale.1 is what a layer norm divides by, and stays above 0: freeze it, patch it, or ablate it to a mean, "
     "value 3, scale 2, noise 0.1"),
    ("ablate resid_pre.7", "bad-node", 7, "resid_pre.7 is out of range: random has layers 0–3"),
    ("ablate L1H9.q", "bad-node", 7, "no head L1H9.q: random has heads 0–3 in layers 0–3"),
    ("ablate all but", "missing-argument", 11, "all but what: ablate all but L5H0,M0 mean"),
    ("ablate all but N1.5 zero", "bad-node", 15, "N1.5 is no head and no MLP: all but keeps those, as in L5H0,M0@END"),
    ("freeze", "missing-argument", None, "freeze what: freeze attn, freeze ln, freeze L1H3@END"),
    ("freeze attn END", "bad-argument", 12, "unexpected 'END': a position was expected, as in freeze attn @END"),
    ("freeze atn", "bad-node", 7, "'atn' isn't a node: write L9H9, A9, M9, N9.123, F9.123, E or U (h nodes)"),
    ("steer", "missing-argument", None, 'steer what: steer resid_pre.1@END += 4 * dir(" Mary" - " John")'),
    ("steer M1", "missing-argument", 6, "how to steer M1: += X * DIRECTION, += X, = X or clamp LO HI"),
    ("steer M1 = 3", "bad-argument", 6, "M1 is a vector: add a direction to it (+=), or ablate it to a value"),
    ("steer M1 += 3", "bad-argument", 12,
     'M1 is a vector: 3 times what? steer resid_pre.1@END += 4 * dir(" Mary" - " John")'),
    ("steer M1 += 3 * dri(Mary)", "bad-direction", 16, "unknown direction 'dri': did you mean 'dir'?"),
    ("steer M1 += 3 * dir(Mary - )", "bad-direction", 16, None),
    ("steer M1 += dir(Xyzzy)", "bad-token", 12, None),
    ("steer M1 += dir(Mary - Mary)", "bad-direction", 12, 'dir(" Mary" - " Mary") is zero: it has no direction'),
    ("steer L1H2 += dir(Mary)", "bad-direction", 14,
     "dir is a direction of the residual stream: L1H2 has 8 numbers of its own, steer it with diff(...) or a file"),
    ("steer M1 += diff(set, set)", "no-prompts", 12, "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts"),
    ("steer M1 += nope.npy", "no-file", 12, "cannot read nope.npy: no such file or directory"),
    ("steer M1 += up", "bad-direction", 12,
     "'up' is no direction: dir(\" Mary\" - \" John\"), diff(SET, SET) or a file (.npy, .safetensors)"),
    ("steer N1.5 clamp 3 1", "bad-edit", 6, "the bounds 3 and 1 are the wrong way round"),
    ("steer N1.5 clamp 3", "bad-argument", 17, "clamp takes two bounds: clamp 0 3"),
    ("steer N1.5 = nan", "bad-number", 13, "'nan' isn't a number"),
    ("swap now", "bad-argument", 5, "unexpected 'now': swap takes no argument"),
    ("align now", "bad-argument", 6, "unexpected 'now': align takes no argument"),
    ("set pos B.IO=Marry", "bad-position", 8, "no token 'Marry' in prompt B: did you mean ' Mary' (1)?"),
    ("set means set", "no-prompts", 10, "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts"),
    ("set means set.csv per token", "bad-argument", 22, "no means per 'token': template, role, position"),
    ("set means set.csv per template", "bad-argument", 22, "set.csv has no templates: per position"),
    ("set means set.csv counterfactuals", "bad-prompts", None, "example 1 has no counterfactual"),
    ("target Mary Smith", "bad-token", 7, "target must be one token: ' Mary Smith' is 2 (' Mary', ' Smith')"),
    ("target", "missing-argument", None, "target needs a token: target Mary"),
    ("distractor Xyzzy", "bad-token", 11, None),
    ("condition 7 ld<0", "bad-stop", 10, "Breakpoint number 7 out of range"),
    ("condition 2 ld<0", "bad-stop", 10, "w2 is a watch: a condition belongs to a breakpoint"),
    ("condition", "bad-stop", None, "Breakpoint number expected"),
    ("cl x", "bad-stop", 3, "Breakpoint number expected"),
    ("cl 7", "bad-stop", 3, "Breakpoint number 7 out of range"),
    ("cl " + "9" * 5000, "bad-stop", 3, None),
    ("cl A3", "bad-stop", 3, "There are no breakpoints at A3"),
    ("pp", "missing-argument", None, "pp what: pp L1H3@END, pp ld"),
    ("whatis", "missing-argument", None, "whatis what: whatis L1H3, whatis ld"),
    ("py", "no-terminal", None, "py asks a person at a terminal: here write ! before a line of Python"),
    ("unalias zz", "no-alias", 8, "Unknown alias 'zz': alias NAME COMMAND makes one"),
    ("alias unalias n", "bad-alias", 6, "unalias keeps its meaning: choose another name"),
    ("features", "no-sae", None, "no SAE loaded: latents are ranked where there is one (rank neurons)"),
    ("tutor zz", "bad-argument", 6, "tutor has no 'zz': skip, back, hint, stop, restart, or a step's number"),
    ("interact 3", "bad-argument", 9, "unexpected '3': interact takes no argument"),
    ("note --drop 3", "no-note", 5, "no note 3: note lists them"),
    ("cl", "unconfirmed", None, "Clear all 2 stops? cl --all does (or give numbers, a line)"),
    ("disable", "bad-stop", None, "Breakpoint number expected"),
    ("disable i9", "bad-edit", 8, "no edit i9: edits lists them"),
    ("delete i9", "bad-edit", 7, "no edit i9: edits lists them"),
    ("ignore 1 -2", "bad-number", 9, "-2 is too small: a count is at least 0"),
    ("undisplay 9", "bad-stop", 10, "no display 9: display lists them"),
    ("unt 1", "bad-line", None, '"until" line number is smaller than current line number'),
    ("r", "not-inside", None, "not inside a line: s steps into an attention or MLP line"),
    ("n 0", "bad-number", 2, "0 is too small: a count is at least 1"),
    ("n x", "bad-number", 2, "'x' isn't a count"),
    ("n 1 2", "bad-argument", 4, "unexpected '2': n takes 1 argument"),
    ("args now", "bad-argument", 5, "unexpected 'now': args takes no argument"),
    ("undo 0", "bad-number", 5, "0 is too small: a count is at least 1"),
    ("rank haeds", "bad-argument", 5, "unknown word 'haeds': did you mean 'heads'?"),
    ("rank by totl", "bad-argument", 8, "unknown measure 'totl': did you mean 'total'?"),
    ("rank by", "missing-argument", 5, "'by' needs a word after it: by total, by direct, by measured, by patched, by norm, by act or by attn"),
    ("rank where", "missing-argument", 5, "'where' needs a word after it: where abs(direct) > 0.1"),
    ("rank heads where abs(direkt) > 1", "bad-expression", 21, "unknown column 'direkt': did you mean 'direct'?"),
    ('rank heads where "abs(direkt) > 1" by total', "bad-expression", 22, "unknown column 'direkt': did you mean 'direct'?"),
    ("rank heads where direct", "bad-expression", 17, "'where' needs true or false: direct is a number"),
    ("rank heads where kind > 1", "bad-expression", 17, "'>' compares numbers: kind is text"),
    ("rank heads where kind == 1", "bad-expression", 17, "'==' compares like with like: kind is text and 1 is a number"),
    ("rank per layr", "bad-argument", 9, "unknown group 'layr': did you mean 'layer'?"),
    ("rank mlps per head", "bad-argument", 14, "mlp are not all heads: rank heads per head, or per component"),
    ("rank heads per layer by norm", "bad-argument", 24, "groups have no norm: by total, by direct, by measured or by patched"),
    ("rank heads per token where layer > 1", "bad-argument", 27, "groups per token have no layer: leave it out of where, or leave out per"),
    ("rank all per layer each 3", "bad-argument", 24, "groups per layer are of one kind: -n 3 shows the first 3"),
    ("rank heads each x", "bad-number", 16, "'x' isn't a number of rows"),
    ("prompt B Mary went ;; rank heads by patched", "bad-lengths", None, "prompt B has 3 tokens and the prompt 14: give one of the same length (prompt B TEXT), or patch by position (patch L0H1@END from B@3)"),
    ("over metric", "no-prompts", None, "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts"),
    ("prompts use 3", "no-prompts", None, None),
    ("prompts xyz", "bad-prompts", 8, "no prompts 'xyz': a .jsonl or .csv file, or ioi, greater-than, docstring, pronoun, agreement, induction"),
    ("compare haeds against base", "bad-argument", 8, "unknown word 'haeds': did you mean 'heads'?"),
    ("compare heads by totl", "bad-argument", 17, "unknown measure 'totl': did you mean 'total'?"),
    ("compare heads against", "missing-argument", 14, "'against' needs a word after it: against base, against B, against FILE"),
    ("compare against nope.run", "no-file", 16, "cannot read nope.run: no such file or directory"),
    ("compare against base with IO=2", "bad-argument", 26, "base is the same prompt: its tokens need no 'with'"),
    ("compare against B with IO", "bad-argument", 23, "'IO' matches no tokens: with IO=Mary#2,S2=9 has a token of each side"),
    ("compare against B with IO=Marry", "bad-position", 23, "no token 'Marry' in prompt B: did you mean ' Mary' (1)?"),
    ("strips heads", "bad-argument", 7, "unexpected 'heads': strips by direct, strips against B"),
    ("strips by act", "bad-argument", 10, "unknown measure 'act': total, direct"),
    ("keep", "missing-argument", None, "keep in which file: keep before.run"),
    ("keep .", "no-file", None, "cannot write .: it is a directory"),
    ("keep it.run haeds", "bad-argument", 12, "unknown word 'haeds': did you mean 'heads'?"),
    ("rank -n x", "bad-number", 5, "'x' isn't a number of rows"),
    ("rank --frm 3", "unknown-option", 5, "rank has no option --frm: did you mean '--from'?"),
    ("logits END", "bad-number", 7, "'END' isn't a position (@END) or a count"),
    ("lens 5 6", "bad-argument", 7, "unexpected '6': lens @END A3"),
    ("patch L1H3@END from B@3<2", "bad-argument", 6,
     "a whole row cannot take one pair's value: write patch L1H3@13<2 from B@3<2"),
    ("set colour red", "bad-setting", 4, "unknown setting 'colour': ablation, metric, ln, autorun, measure, means, sae, seed, pos, scale, mode, mouse, fps"),
    ("set ablation maen", "bad-setting", 13, "ablation cannot be 'maen': did you mean 'mean'?"),
    ("set metric", "missing-argument", None, None),
    ("set metric kll", "bad-setting", 11, "metric cannot be 'kll': did you mean 'kl'?"),
    ("set metric kl Mary", "bad-argument", 14, "unexpected 'Mary': a position, as in set metric kl @END, and no more"),
    ("set metric prob @99", "bad-position", 16, None),
    ("set metric activation", "missing-argument", None, "activation of what: set metric activation N1.5@END, set metric activation L1H2@END<Mary"),
    ("set metric activation M1@END", "bad-node", 22, "M1 has no single activation: a neuron and a head's pair do"),
    ("set metric activation L1H2@2<4", "bad-node", 22, None),
    ("set metric activation N1.5@END @3", "bad-argument", 31, None),
    ("set metric direction Mary - ", "missing-argument", 21, "a direction needs tokens: set metric direction Mary - John"),
    ("set metric direction at E", "bad-line", 24, "nothing is written before E: read a direction at A0 or later"),
    ("set metric direction Mary John", "bad-token", 11, None),
    ("set metric direction nope.npy", "no-file", 21, "cannot read nope.npy: no such file or directory"),
    ("set pos 3=IO", "bad-setting", 8, "a name and a position are needed: set pos IO=2"),
    ("set pos END=3", "bad-setting", 8, "END is taken: choose another name"),
    ("set means nope.txt", "no-file", 10, "cannot read nope.txt: no such file or directory"),
    ("prompt", "missing-argument", None, 'prompt needs a text: prompt "When Mary and John ..."'),
    ("prompt" + " to" * 30, "bad-prompt", None, "the prompt has 31 tokens: random reads at most 24"),
    ("generate 3 --temperature -1", "bad-number", None, "temperature '-1' isn't a number of 0 or more"),
    ("generate 3 --top-k 0", "bad-number", 11, "0 is too small: a number of tokens is at least 1"),
    ("generate 3 --seed x", "bad-number", 11, "'x' isn't a seed"),
    ("edits lod x.json", "bad-argument", 6, "unexpected 'lod': edits, edits save FILE, edits load FILE"),
    ("edits load", "missing-argument", 6, "edits load which file: edits load mine.json"),
    ("edits load nope.json", "no-file", 11, "cannot read nope.json: no such file or directory"),
    ("edits --add", "bad-argument", None, "--add is for edits load: edits load FILE --add"),
    ("name i9 it", "bad-edit", 5, "no edit i9: edits lists them"),
    ("name i1 " + "x" * 41, "bad-name", 8, "a name has at most 40 characters, none of them invisible"),
    ("move i1", "missing-argument", None, "move i1 where: move i1 1, up or down"),
    ("move i1 9", "bad-argument", 8, "no place 9: the stack has 1"),
    ("move i1 up", "bad-argument", 8, "i1 is the first already"),
    ("move i1 x", "bad-number", 8, "'x' isn't a place (1 is the first), up or down"),
    ("toggle", "missing-argument", None, "toggle which edit or stop: toggle i1, toggle b2"),
    ("toggle i9", "bad-edit", 7, "no edit i9: edits lists them"),
    ("toggle x", "bad-stop", 7, "no edit, stop or display 'x': edits, b and display list them"),
    ("enable the mover", "bad-stop", 7, "no edit, stop or display 'the': edits, b and display list them"),
    ("name i1 b2", "bad-name", 8, "b2 would be taken for a number: choose another name"),
    ("save s.py", "bad-file", 5, "save writes a session, which is .json: export s.py writes a .py"),
    ("save s.tdb", "bad-file", 5, "save writes a session, which is .json: export s.tdb writes a .tdb"),
    ("checkpoint base", "bad-name", 11, "base is taken: choose another name"),
    ("checkpoint 3", "bad-name", 11, "'3' is no name: letters, digits, _ . and -, 40 at most"),
    ("checkpoint x --drop", "no-checkpoint", 11, "no checkpoint 'x': checkpoint NAME makes one"),
    ("cp abc ;; restore abd", "no-checkpoint", 18, "no checkpoint 'abd': did you mean 'abc'?"),
    ("restore", "missing-argument", None, "restore which checkpoint: restore before"),
    ("diff now nope", "no-checkpoint", 9, "no run 'nope': base, now, B"),
    ("diff a b c", "bad-argument", 9, "unexpected 'c': diff compares two runs"),
    ("diff by act", "bad-argument", 8, "unknown measure 'act': total, direct"),
    ("assert", "missing-argument", None, "assert what: assert final > 2"),
    ("assert ld", "bad-expression", 7, "assert needs true or false: ld is a number"),
    ("assert line == 4, not here", "assertion", None, "assertion failed: not here (line == 4; line = 3)"),
    ("commands 7: n", "bad-stop", 9, "Breakpoint number 7 out of range"),
    ("commands 1: nxt", "unknown-command", 12, "unknown command 'nxt': did you mean 'next'? (! runs Python, h lists commands)"),
    ("why not haeds", "bad-argument", 8, "unknown word 'haeds': did you mean 'heads'?"),
    ("whynot per head", "bad-argument", 7, "per what: per component"),
    ("help zz", "no-help", 5, "No help for 'zz'"),
    ("source nope.tdb", "no-file", 7, "cannot read nope.tdb: no such file or directory"),
    ("source -", "bad-file", 7, "source reads a file: -x - reads standard input"),
    ("load nope.json", "no-file", 5, "cannot read nope.json: no such file or directory"),
    ("save \0", "bad-file", 5, "'\\x00' isn't a file's path"),
    ("save .", "no-file", None, "cannot write .: it is a directory"),
    ("export ioi.pdf", "bad-file", 7, "cannot write .pdf: .html, .md, .txt, .tdb, .py, .json, .jsonl, .csv, .svg or .dot"),
    ("export", "missing-argument", None, "export to which file: export ioi.tdb, report.md, ranked.csv"),
    ("rank --out no/such/place.json", "no-file", None, None),
    ("ablate L0H1 --out edit.pdf", "bad-file", None, "cannot write .pdf files: .json, .csv, .tsv, .html, .txt or .md"),
    ("ov M1", "bad-node", 3, "M1 is no head: name one, as in L1H0"),
    ("qk", "missing-argument", None, "qk of which head: qk L1H3"),
    ("compose L2H1 x", "bad-argument", 13, "unknown input 'x': q, k or v"),
    ("why L1H3@3<2 against @5", "bad-node", 4, "query 3 does not see token 5: it sees 0 to 3"),
    ("feeds BU@END", "bad-node", 6, "BU is added after everything that reads: it has no edges"),
    ("top L1H3@END up", "bad-argument", 13, "unknown side 'up': in (what drives it) or out (what it promotes)"),
    ("drives", "missing-argument", None, "what drives which node: drives N0.5@END, drives L1H3@END"),
    ("upstream --threshold x", "bad-number", 9, "'x' isn't a number"),
    ("fold", "missing-argument", None, "fold which branch: fold 0.2"),
    ("fold 0.9", "bad-branch", 5, "no branch 0.9: 0 has branches 0 to 3"),
    ("fold L1H3", "bad-branch", 5, "'L1H3' is no branch: 0 is the root, 0.2 its third branch, 0.2.1 the second of that"),
    ("view", "missing-argument", None, "view what: rank, attn, tree, strips, heat, page, lists, next"),
    ("view tre", "bad-argument", 5, "no view 'tre': did you mean 'tree'?"),
    ("circuit weigh", "bad-argument", 8, "circuit has no 'weigh': new, use, add, rm, edge, keep, show, list, eval, prune, save, load, drop"),
    ("circuit edge M1@3 -> M0@3", "bad-circuit", 13, "M1@3 does not come before M0@3: an edge goes down the pass"),
    ("estimates heads per layer", "bad-argument", 16, "estimates are of single nodes: leave out per"),
    ("estimates --from C", "bad-option", 10, "nothing to take from 'C': zero or B"),
    ("roles inducton", "bad-argument", 6, "unknown role 'inducton': did you mean 'induction'?"),
    ("repair now", "bad-argument", 7, "unexpected 'now': repair takes no argument"),
    ("verify 3", "bad-argument", 7, "unexpected '3': verify takes no argument"),
    ("verify -n -1", "bad-number", 7, "-1 is too small: a number of rows is at least 0"),
    ("! 1/0", "python", None, "ZeroDivisionError: division by zero"),
    ("! exit()", "python", None, None),
    ("!", "missing-argument", None, "! needs Python after it: ! trace[Site.PATTERN, 0].shape"),
)  # fmt: skip


@pytest.mark.parametrize(("line", "code", "col", "message"), BAD, ids=[bad[0][:30] for bad in BAD])
def test_a_bad_line_gets_one_sentence_and_changes_nothing(
    session: Session, line: str, code: str, col: int | None, message: str | None
) -> None:
    do(session, *BUSY)
    *chained, _ = line.split(" ;; ")
    do(session, *chained)
    before = everything(session)
    error = fail(session, line.rpartition(";; ")[2] if chained else line).error
    assert error is not None
    assert everything(session) == before
    assert error.code == code
    if message is not None:
        assert error.message == message
    assert error.col == col or chained
    assert not error.message.endswith(".") and "\n" not in error.message and len(error.message) < 5200


def test_the_column_counts_from_the_beginning_of_a_chain(session: Session) -> None:
    assert [done.error and done.error.col for done in execute(session, "n ;; b A2 ;; b Q9")] == [
        None,
        None,
        15,
    ]


def test_the_lists_of_what_can_be_said_are_complete(session: Session) -> None:
    """Every command is refused something in the table above or takes anything."""
    refused = {
        registry.find(line.split(" ;; ")[-1].split()[0]).name
        for line, code, _, _ in BAD
        if "command" not in code and code != "bad-syntax"
    }
    takes_anything = {
        "apropos", "enable", "history", "info", "jump", "list", "next", "print", "quit", "rc", "redo", "reset", "return",
        "rn", "rs", "run", "show", "ll", "echo", "rv", "neurons", "mark", "explain",
        "find", "latent", "latents", "examples", "step", "tbreak", "trace", "up", "down", "upstream", "drives", "roles", "repair", "token", "top", "watch", "where", "continue", "display",
    }  # fmt: skip
    assert set(registry.names()) == refused | takes_anything


@pytest.mark.parametrize("line", ["rn", "rs", "rc"])
def test_there_is_nothing_before_the_start(session: Session, line: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.message == "At the start of the pass"


@pytest.mark.parametrize("line", ["n", "s", "unt", "unt U"])
def test_there_is_nothing_after_the_end(session: Session, line: str) -> None:
    do(session, "c")
    error = fail(session, line).error
    assert error is not None and error.message == "the pass has finished: c starts again, N steps back"


@pytest.mark.parametrize(("line", "message"), [("undo", "nothing to undo"), ("redo", "nothing to redo")])
def test_there_is_nothing_to_take_back_in_a_fresh_session(session: Session, line: str, message: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.message == message


def test_prompts_of_different_lengths_need_positions(session: Session) -> None:
    do(session, "prompt B Mary and John went to the store")
    error = fail(session, "patch L1H3 from B").error
    assert error is not None and error.message == (
        "A has 14 tokens and B has 8: give positions (patch L1H3@13 from B@7) or roles (set pos)"
    )
    do(session, "patch L1H3@END from B@END")


def test_without_a_prompt_b_there_is_nothing_to_patch_from(engine: Engine) -> None:
    error = fail(begin(engine, prompt_b=None), "patch L1H3").error
    assert error is not None and error.message == "no prompt B: set one with 'prompt B TEXT' or --prompt-b"


@pytest.mark.parametrize("line", ["ablate L0H0 value 1e38", "ablate L0H0 scale 1e30", "ablate E value 3e38"])
def test_an_overflow_is_no_result(session: Session, line: str) -> None:
    do(session, "ablate L1H1")
    before = everything(session)
    error = fail(session, line).error
    assert error is not None and (error.exit_code, error.code) == (4, "not-finite")
    assert re.fullmatch(
        r"logits are not finite after ablate \S+@\* (value|scale) \S+: it was not made", error.message
    )
    assert everything(session) == before


# What a command prints, as a pattern for its first line; lines before the last set the scene.
GOOD = (
    ("n", r"E  Δ [+-]\d+\.\d\d  lens [+-]\d+\.\d\d  top-1 '.+' \(\S+\)"),
    ("n 3", r"A1|M0  Δ .*"),
    ("n ;; s", r"--Call-- A0, 4 heads and the bias"),
    ("n 2 ;; s", r"--Call-- M0, 26 neuron rows and the bias"),
    ("n ;; s ;; s", r"L0H0  Δ \S+  lens \S+"),
    ("n ;; s ;; r", r"--Return-- A0  Δ \S+  lens \S+  top-1 .*"),
    ("unt A2", r"M1  Δ .*"),
    ("c", r"U  Δ .*"),
    ("j A3", r"> A3 attn @END \(view only, nothing recomputed\)"),
    ("n 2 ;; rn", r"E  Δ .*"),
    ("n 2 ;; rs", r"L0H3  Δ .*"),
    ("n 2 ;; rc", r"At the start of the pass"),
    ("run", r"reran in \d+ ms: [+-]\d\.\d\d \(baseline\)"),
    ("ablate M0 ;; run", r"reran in \d+ ms: \S+ \(baseline\) -> \S+"),
    ("b", r"No stops"),
    ("b A2", r"Breakpoint 1 at A2 \(line 5\)"),
    ("b 5, ld<0", r"Breakpoint 1 at A2 \(line 5\) if ld<0"),
    ("b any, ld > 1", r"Breakpoint 1 at any line if ld > 1"),
    ("b A2 ;; b", r"b1  keep  y  A2  hits 0"),
    ("tbreak M1", r"Temporary breakpoint 1 at M1 \(line 4\)"),
    ("watch rank(' Mary') == 1", r"Watch 1: rank\(' Mary'\) == 1"),
    ("watch ld by 0.5", r"Watch 1: ld by 0\.5"),
    ("b A2 ;; cl 1", r"Deleted breakpoint 1 at A2"),
    ("b A2 ;; cl A2", r"Deleted breakpoint 1 at A2"),
    ("b A2 ;; b 3 ;; watch ld ;; cl 1 3 1", r"Deleted breakpoint 1 at A2"),
    ("cl --all", r"No stops"),
    ("b A1 ;; disable 1", r"Disabled breakpoint 1 at A1"),
    ("b A1 ;; disable b1 ;; enable b1", r"Enabled breakpoint 1 at A1"),
    ("ablate L0H0 ;; disable i1", r"Disabled i1 \(ablate L0H0@\* zero\)   metric \S+"),
    ("b A1 ;; condition 1 ld < 0", r"New condition set for breakpoint 1\."),
    ("b A1, ld<0 ;; condition 1", r"Breakpoint 1 is now unconditional\."),
    ("b A1 ;; ignore 1 2", r"Will ignore next 2 crossings of breakpoint 1\."),
    ("b A1 ;; ignore 1 1", r"Will ignore next 1 crossing of breakpoint 1\."),
    ("watch ld ;; ignore 1", r"Will stop next time watch 1 is reached\."),
    ("display ld", r"d1 ld: 0"),
    ("display", r"Nothing is displayed: display EXPR"),
    ("display ld ;; display", r"d1  y  ld  0"),
    ("display ld ;; undisplay d1", r"0 displayed"),
    ("w", r"> 0 ' Mary' - ' John' @END  [+-]\d+\.\d\d"),
    ("l", r"\s+0  ->  E   .*"),
    ("l 1,2", r"(>>)? *1 +A0  .*"),
    ("a", r"model +random  4 layers, 4 heads, d_model 32  cpu float32"),
    ("p 1 + 1", r"2"),
    ("p 9.9", r"9\.9"),
    ("p 1.2", r"1\.2"),
    ("p line", r"0"),
    ("p kind", r"'embed'"),
    ("p not (ld > 0)", r"true"),
    ("p L1H2", r"L1H2@END  head"),
    ("p L1H2@END<Mary", r"L1H2@END<Mary  head"),
    ("pp N1.5@3", r"N1\.5@John#1  neuron"),
    ("p BU", r"BU@END  bias"),
    ("logits", r"rank +token +p  logit +Δ base"),
    ("lens", r"line +lens +Δ +rank  top"),
    ("attn L1H2", r"L1H2@END reads  .+( · .+){5}"),
    ("attn L1H2 @0", r"L1H2@⊢ reads  ⊢ 1\.0"),
    ("attn L1H2@Mary", r"L1H2@Mary reads  .+ · .+"),
    ("top L1H2@END -n 3", r"up +logits  down +logits"),
    ("token @Mary", r"token 1: ' Mary'"),
    ("token -2", r"token 11: ' a'"),
    ("token +5", r"token 13: ' to'"),
    ("token @-1", r"token 13: ' to'"),
    ("rank", r" *#  node +total  direct +measured +norm +act  reads"),
    ("rank mlps by direct @END", r"#  node .*"),
    ("rank heads in A1 + -n 2", r"#  node .*"),
    ("rank heads per component by measured -n 3", r"#  node +total +direct +measured +rows"),
    ("rank all per layer -n 2", r"#  node +total +direct +measured +rows"),
    ("rank heads by patched @END -n 3", r"#  node +total +direct +patched +norm +act +reads"),
    ("rank parts each 1", r"#  node .*"),
    ("rank neurons where abs(total) > 0.01 and kind == 'neuron' -n 2", r"#  node .*"),
    ("prompts", r"No prompt set: .*"),
    ("prompts set.csv", r"set\.csv  2 prompts of 4 to 5 tokens, roles END"),
    ("prompts set.csv ;; over metric", r"# +metric +sd +95 % interval +sign +n"),
    ("prompts set.csv ;; over rank heads", r" *# +total +sd +95 % interval +sign +n"),
    ("ablate L1H2 ;; compare", r" *#  node +now +base +Δ total +Δ direct +Δ measured +Δ norm +Δ act"),
    ("cmp heads against B by act @END -n 3", r"#  node +now +B +Δ act +.*"),
    ("compare mlps against B --wide -n 2", r"#  node +total now +B +Δ total +direct now +B +Δ direct +.*"),
    ("keep it.run ;; compare against it.run -n 2", r"#  node +now +it\.run +Δ total +.*"),
    ("keep it.run heads", r"kept it\.run: 224 rows \(head\)"),
    ("strips", r" *#  token +embed +mlp +query +key"),
    ("strips by direct against B", r"now minus B"),
    ("ablate L1H2", r"i1 ablate L1H2@\* zero   metric \S+ -> \S+ \(Δ \S+\)   \d+ ms"),
    ("ablate L1H2@END<Mary", r"i1 ablate L1H2@13<1 zero   metric .*"),
    ("ablate L1H{0,2},M0@2:3 scale 0.5", r"i1 ablate L1H0,L1H2,M0@2:3 scale 0\.5   metric .*"),
    ("ablate N1.5@END value 0.123456789", r"i1 ablate N1\.5@13 value 0\.123456789   metric .*"),
    ("set means positions ;; ablate A1 mean", r"i1 ablate A1@\* mean   metric .*"),
    ("set means positions ;; set ablation mean ;; ab A1", r"i1 ablate A1@\* mean   metric .*"),
    ("ablate L1H2@END<Mary cut", r"i1 ablate L1H2@13<1 cut   metric .*"),
    ("ablate resid_mid.1@END", r"i1 ablate resid_mid\.1@13 zero   metric .*"),
    ("ablate L1H*.q,L2.pattern@3 zero", r"i1 ablate L1H0\.q,L1H1\.q,L1H2\.q,L1H3\.q,L2\.pattern@3 zero   metric .*"),
    ("ablate M1@3,M2,L1H2@5 zero", r"i1 ablate M1@3,M2,L1H2@5 zero   metric .*"),
    ("ablate M1 noise 0.5", r"i1 ablate M1@\* noise 0\.5 seed 0   metric .*"),
    ("prompts set.csv ;; ablate M1@END resample seed 4", r"i1 ablate M1@13 resample seed 4   metric .*"),
    ("ablate all but L1H2,M0@END", r"i1 ablate all@\* but L1H2,M0@13 zero   metric .*"),
    ("ablate all@3 zero", r"i1 ablate all@3 zero   metric .*"),
    ("patch resid_pre.2 from B", r"i1 patch resid_pre\.2@0:13 from B@0:13   metric .* \(100 % of A→B\)   \d+ ms"),
    ("prompts set.csv ;; patch L1H2@END from 2", r"i1 patch L1H2@13 from 2@4   metric .*"),
    ("freeze ln @END", r"i1 freeze ln@13   metric .*"),
    ("freeze L1H2.pattern,M0", r"i1 freeze L1H2\.pattern,M0@\*   metric .*"),
    ('steer M1@END += 2 * unit(dir(" Mary" - " John"))', r'i1 steer M1@13 \+= 2 \* unit\(dir\(" Mary" - " John"\)\)   metric .*'),
    ("steer resid_pre.1 -= embed(Mary, Anna)", r'i1 steer resid_pre\.1@\* \+= -1 \* embed\(" Mary", " Anna"\)   metric .*'),
    ("prompts set.csv ;; steer L1H2.k@3 += 2 * diff(set, set.csv -n 1)",
     r"i1 steer L1H2\.k@3 \+= .*"),
    ("steer N1.5@END clamp 0 3", r"i1 steer N1\.5@13 clamp 0 3   metric .*"),
    ("steer L1H2@END<Mary = 0.5", r"i1 steer L1H2@13<1 = 0\.5   metric .*"),
    ("swap", r"A and B are exchanged: metric \S+, of B \S+"),
    ("align", r" +0 1 +2 .*"),
    ("set pos B.IO=Mary#2", r"IO is B@9"),
    ("set means set.csv", r"means are taken over 2 prompts, all their tokens together"),
    ("set means set.csv per role", r"means are taken over 2 prompts, role by role, other tokens together"),
    ("patch L1H2@END from B", r"i1 patch L1H2@13 from B@13   metric .* \(-?\d+ % of A→B\)   \d+ ms"),
    ("edge ablate L0H1 -> L2H1.q, M0 -> U", r"i1 edge ablate L0H1@\* -> L2H1\.q, M0@\* -> U zero   metric .*"),
    ("path L0H1 -> L2H1.q from B mlps", r"i1 path L0H1@0:13 -> L2H1\.q from B mlps   metric .*"),
    ("path all -> L2H1.q@END -n 3", r"11 senders -> L2H1\.q@13 from B direct: metric \S+"),
    ("patch L1H2@END<Mary from B@END<Mary#2", r"i1 patch L1H2@13<1 from B@13<9   metric .*"),
    ("sweep patch resid_pre", r"patch resid_pre: layer x position   ' Mary' - ' John' @END"),
    ("sweep ablate heads @END scale -1 ;; sweep show", r"ablate heads @END scale -1: layer x head .*"),
    ("ablate L0H0 ;; undo", r"undid ablate L0H0@\* zero   metric \S+"),
    ("ablate L0H0 ;; undo ;; redo", r"redid ablate L0H0@\* zero   metric \S+"),
    ("reset", r"No edits"),
    ("ablate L0H0 ;; reset", r"reset   metric \S+ -> \S+ \(Δ \S+\)"),
    ("ablate L0H0 ;; delete i1", r"deleted i1   metric .*"),
    ("prompt Mary and John went to", r"prompt has 6 tokens: metric \S+"),
    ("prompt B Mary and John", r"prompt B has 4 tokens: metric \S+"),
    ("prompt --no-bos Mary and John", r"prompt has 3 tokens: metric \S+"),
    ("target Anna", r"' Anna' - ' John' @END: \S+"),
    ("target Anna, Mary", r"' Anna',' Mary' - ' John' @END: \S+"),
    ('target " Anna" " Mary"', r"' Anna',' Mary' - ' John' @END: \S+"),
    ("distractor", r"logit ' Mary' @END: \S+"),
    ("set metric prob", r"prob ' Mary' @END: \S+"),
    ("set metric prob @Mary#1", r"prob ' Mary' @1: \S+"),
    ("set metric kl", r"kl\(baseline \|\| now\) @END: \+0\.00"),
    ("set metric direction", r'direction " Mary" - " John" at U @END: \S+'),
    ("set metric direction Anna at A2 @4", r'direction " Anna" at A2 @4: \S+'),
    ("set metric activation N1.5@END", r"activation N1\.5@END: \S+"),
    ("set metric activation L1H2@END<Mary#1", r"activation L1H2@END<1: \S+"),
    ("set metric kl @4 ;; show metric", r"metric  kl @4  set  the number under study"),
    ("set pos IO=Mary ;; p L0H1@IO", r"L0H1@Mary  head"),
    ("set ablation zero", r"ablation is zero"),
    ("set means positions", r"means are taken over the tokens of the prompt itself, without the first"),
    ("set means none", r"means are taken over nothing: mean ablation is off"),
    ("show", r"ablation  zero +default +what .*"),
    ("show metric", r"metric  logit_diff  default  the number under study"),
    ("generate 3", r".*"),
    ("ablate L0H1 ;; generate 2", r"now +.*"),
    ("edits", r"No edits   metric \S+"),
    ("ablate L0H1 ;; edits", r" +marginal +after  command"),
    ("ablate L0H1 ;; stack save it.json", r"wrote 1 edit to it\.json"),
    ("ablate L0H1 ;; edits save it.json ;; edits load it.json", r"loaded 1 edit from it\.json   metric .*"),
    ("ablate L0H1 ;; name i1 the mover", r"i1 is called 'the mover'"),
    ("ablate L0H1 ;; name i1", r"i1 has no name"),
    ("ablate L0H1 ;; ablate M0 ;; move i2 1", r"i2 is number 1 of 2   metric \S+, as before: the order does not matter here"),
    ("ablate L0H1 ;; toggle i1", r"i1 off   metric \S+ -> \S+ \(Δ \S+\)"),
    ("checkpoint before", r"checkpoint before   metric \S+, 0 edits in force"),
    ("cp", r"No checkpoints: checkpoint NAME"),
    ("cp it ;; restore it", r"restored it   metric .*"),
    ("ablate L0H1 ;; diff", r" +base +now +Δ"),
    ("cp it ;; diff B it --tokens 0", r" +B +it +Δ"),
    ("b A1 ;; commands 1: p ld", r"Commands of breakpoint 1: p ld"),
    ("commands", r"No stop has commands"),
    ("assert final == base(final) ;; p 1", r"1"),
    ("info checkpoints", r"No checkpoints"),
    ("target a ;; distractor then ;; whynot", r"' a' - ' then' @END: \S+ -> \S+ \(B \S+\)"),
    ("h", r"running +n\(ext\) s\(tep\) .*"),
    ("h rank", r"rank \| rk  .*"),
    ("h nodes", r"L2H3 .*"),
    ("h L1H2", r"L1H2@END  head"),
    ("apropos breakpoint", r"\S+ +.*"),
    ("history", r"1  history"),
    ("ablate L0H0 ;; info interventions", r"i1  \*  ablate L0H0@\* zero"),
    ("info model", r"name +random"),
    ("info stops", r"No stops"),
    ("info L1H2", r"L1H2@END  head"),
    ("save", r"saved session\.json"),
    ("save ;; load session.json", r"loaded session\.json   metric \S+"),
    ("export it.tdb", r"wrote it\.tdb"),
    ("export it.tdb ;; source it.tdb --echo", r"\(tdb\) prompt --bos .*"),
    ("! 1 + 1", r"2"),
    ("! trace[Site.PATTERN, 0].shape", r"torch\.Size\(\[4, 14, 14\]\)"),
    ("! print(len(tokens))", r"14"),
    ("trace L1H3@END via v", r"frame 1: L1H3@END via v .*"),
    ("trace M0@END ;; up", r"frame 0: .*"),
    ("trace M0@END ;; up ;; down", r"frame 1: M0@END .*"),
    ("upstream", r"' Mary' - ' John' @END .*"),
    ("fold 0.1 ;; fold 0.1", r"' Mary' - ' John' @END .*"),
    ("view tree", r"view: what is upstream, as a tree"),
    ("drives N0.5@END", r"input at END"),
    ("ov L1H3", r"L1H3  W_E W_V W_O W_U"),
    ("qk L1H3 -n 1", r"L1H3  W_E W_Q W_K W_E / sqrt\(d_head\)"),
    ("compose L2H1 -n 3", r"L2H1 reads of earlier heads, \|A B\| / \|A\| \|B\|: chance is 0\.\d\d\d"),
    ("top L1H2@END in -n 3", r"q at END"),
    ("top M1@END --scores --all", r"up +logits +score +down +logits +score"),
    ("why L2H1@END<Mary", r"L2H1@END<Mary  score \S+  mean of the 13 other keys \S+  contrast \S+  attention \S+"),
    ("why L2H1@END<Mary against store -n 2", r"L2H1@END<Mary  score \S+  key store \S+  contrast \S+  attention \S+"),
    ("feeds L0H1@END -n 3", r"L0H1@END  into 41 inputs after it, total effect \S+ \(estimate\)"),
    ("feeds into L2H1@END via q", r"L2H1\.q@END  from 16 nodes and biases before it"),
    ("circuit", r"No circuits: circuit new NAME begins one"),
    ("circuit new ioi ;; circuit add L1H3@END M0", r"added L1H3@END, M0@END   circuit ioi: 2 nodes, 0 edges"),
    ("trace L1H3@END via v ;; circuit keep", r"kept the trail   circuit draft: 2 nodes, 1 edge"),
    ("roles induction on prompt", r"on the prompt"),
    ("roles", r"on 8 x 11 random tokens said twice, seed 0"),
    ("ablate L0H1,L1H3 ;; repair -n 3", r"node +before +after +change +own +scale"),
    ("ll", r" *>>? +0 +-> +E .*|  +0 +-> +E .*"),
    ("pp L1H3@END", r"L1H3@END  head"),
    ("whatis L1H3", r"head  L1H3  d_head 8  .*"),
    ("n ;; rv", r"E  Δ \S+  lens \S+"),
    ("alias", r"No aliases"),
    ("neurons M1 -n 2", r"#  node .*"),
    ("note L1H3@END copies", r"noted of L1H3@END: copies"),
    ("echo one two", r"one two"),
    ("tutor", r"── lesson 1/15 · the question "),
    ("verify -n 2", r" +shown +float64 +difference"),
    ("estimates -n 2 --steps 2", r"# +node +total +ig +drop +.*measured +atp +patched"),
)  # fmt: skip


@pytest.mark.parametrize(("line", "first"), GOOD, ids=[good[0][:40] for good in GOOD])
def test_a_command_answers_in_words(session: Session, line: str, first: str) -> None:
    reply = do(session, line)
    assert re.fullmatch(first, reply.lines[0]), reply.lines[0]
    assert all("\n" not in each and each.isprintable() for each in reply.lines)


def test_every_command_is_tried() -> None:
    tried = {registry.find(call.split()[0]).name for line, _ in GOOD for call in line.split(" ;; ")}
    elsewhere = {"examples", "find"}  # tests/test_exampling.py, with a store
    assert tried | elsewhere | {
        "quit",
        "unalias",
        "features",
        "latents",
        "latent",
        "interact",
        "explain",
        "mark",
    } == set(registry.names())


def examples() -> Iterator[tuple[str, str]]:
    yield from ((command.name, line) for command in registry for line in command.examples)


@pytest.mark.parametrize("command", list(registry), ids=lambda command: command.name)
def test_the_examples_in_the_help_run(
    session: Session, command: Command, request: pytest.FixtureRequest
) -> None:
    if command.name in ("features", "latents", "latent"):
        pytest.skip("no sparse autoencoder is loaded here")
    if command in map(registry.find, ("examples", "find", "explain")):
        pytest.skip("no store is loaded here")
    session.at_terminal = True
    if command in map(registry.find, ("prompts", "over", "whynot")):
        session = request.getfixturevalue("drawn")
    do(session, "ablate L0H1", "ablate L0H2", "save ioi.json", "b A1", "display ld")
    Path("ioi.tdb").write_text("n\nablate L1H1\n")
    for _, line in ((name, line) for name, line in examples() if registry.find(name) is command):
        needs = {
            "r": "s", "redo": "undo", "undo": "ablate L1H0", "unalias look": "alias look attn %1", "unalias nn": "alias nn n 2",
        }  # fmt: skip
        do(session, "j 1", needs.get(line, "w"), line)


def test_every_command_has_help_and_two_examples() -> None:
    for command in registry:
        assert len(command.examples) == 2, command.name
        assert command.summary and command.summary[0].isupper(), command.name
        for line in command.examples:
            names = {registry.find(call.split()[0]).name for call in line.split(" ;; ")}
            assert command.name in names, line


def test_an_empty_line_repeats_as_the_table_of_classes_says() -> None:
    classes = {
        Repeat.LITERAL: "n s r c unt rn rs rc u d p pp w whatis",
        Repeat.CONTINUE: "l rank logits top history neurons",
        Repeat.NOTHING: "ablate patch undo redo run save load source set prompt q delete reset target",
    }
    for repeat, names in classes.items():
        assert {registry.find(name).repeat for name in names.split()} == {repeat}


def test_the_next_page_goes_on_where_the_last_ended(session: Session) -> None:
    first = do(session, "rank all by direct -n 10")
    assert first.more is not None
    second, whole = do(session, first.more), do(session, "rank all by direct -n 0")
    assert first.result["rows"] + second.result["rows"] == whole.result["rows"][:20]
    assert second.more == "rank all by direct -n 10 --from 20"
    assert whole.more is None


def test_twenty_five_rows_are_shown_unless_more_are_asked_for(session: Session) -> None:
    assert len(do(session, "rank").result["rows"]) == 25
    assert len(do(session, "rank -n 7").result["rows"]) == 7
    everything = do(session, "rank -n 0").result["rows"]
    assert len(everything) == 14 * (4 * 4 + 4 + 1)


@pytest.mark.parametrize("kinds", ["heads", "mlps", "attns", "neurons", "pairs", "embeds", "biases", "all"])
@pytest.mark.parametrize("by", ["total", "direct", "norm", "act"])
def test_a_ranking_is_in_order_and_its_books_balance(session: Session, kinds: str, by: str) -> None:
    result = do(session, f"rank {kinds} by {by} -n 0").result
    column = {"norm": "write_norm"}.get(by, by)
    values = [abs(row[column]) for row in result["rows"]]
    assert values == sorted(values, reverse=True)
    books = result["balance"]
    assert books["sum"] == pytest.approx(books["rows"] + books["biases"] + books["rest"], abs=1e-12)
    assert books["sum"] == pytest.approx(result["target"]["value"], abs=1e-5)
    assert abs(books["difference"]) < 1e-5
    shown = sum(row["direct"] for row in result["rows"] if row["kind"] != "bias")
    assert books["rows"] == pytest.approx(shown, abs=1e-9)
    if kinds == "all":
        assert books["rest"] == pytest.approx(0, abs=1e-9)


def test_a_ranking_can_be_narrowed_to_a_token_to_parts_and_to_a_sign(session: Session) -> None:
    rows = do(session, "rank heads @Mary -n 0").result["rows"]
    assert {row["pos"] for row in rows} == {1} and len(rows) == 16
    rows = do(session, "rank heads in A1 in L2H0-1 -n 0").result["rows"]
    assert {(row["layer"], row["index"]) for row in rows} == {(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)}
    assert all(row["total"] > 0 for row in do(session, "rank heads by total + -n 0").result["rows"])
    assert all(row["total"] < 0 for row in do(session, "rank heads by total - -n 0").result["rows"])


def test_undo_and_redo_restore_every_activation_bit_for_bit(session: Session) -> None:
    runs = [session.snapshot.now]
    edits = (
        "ablate L1H2",
        "ablate E@3 scale 2",
        "patch M2@1:2 from B",
        "target Anna",
        "prompt Mary went to",
        "reset",
    )
    for line in edits:
        runs.append((do(session, line), session.snapshot.now)[1])

    def same(a: object, b: object) -> None:
        now, then = session.snapshot.now, b
        assert now.trace.acts.keys() == then.trace.acts.keys()  # pyright: ignore
        assert all(torch.equal(now.trace[at], then.trace[at]) for at in now.trace.acts)  # pyright: ignore
        assert now.value == then.value  # pyright: ignore

    session.engine.forget()  # so that what is compared has been computed again
    for run in reversed(runs[:-1]):
        do(session, "undo")
        same(session, run)
    session.engine.forget()
    for run in runs[1:]:
        do(session, "redo")
        same(session, run)


def test_undo_takes_back_as_many_as_there_are(session: Session) -> None:
    do(session, "ablate L0H0", "ablate L0H1", "ablate L0H2", "undo 2")
    assert [edit.text for edit in session.state.inputs.edits] == ["ablate L0H0@* zero"]
    do(session, "redo 5")
    assert len(session.state.inputs.edits) == 3
    assert session.done[-2:] == ["undo 2", "redo 2"]
    do(session, "undo", "ablate M0")
    fail(session, "redo")


def test_undoing_a_prompt_takes_the_cursor_along_to_the_end(session: Session) -> None:
    do(session, "prompt Mary went")
    assert session.state.pos == 2
    do(session, "undo")
    assert session.state.pos == END
    do(session, "token @8", "prompt Mary went", "undo", "token @8", "redo")
    assert session.state.pos == 2


def test_names_of_positions_survive_a_prompt_that_is_too_short_for_them(session: Session) -> None:
    do(session, "set pos S2=9", "prompt Mary went to")
    error = fail(session, "p L0H0@S2").error
    assert error is not None and error.message == "no token S2: the prompt has tokens 0–3"
    do(session, "undo", "p L0H0@S2")


def test_what_edits_need_cannot_be_taken_away_under_them(session: Session) -> None:
    do(session, "set means positions", "ablate L0H0 mean", "patch L1H1@END from B@12", "ablate M1@9")
    for line, message in (
        ("set means none", "i1 (ablate L0H0@* mean) needs means: delete i1 first"),
        (
            "prompt B Mary went",
            "i2 (patch L1H1@13 from B@12) takes token 12, prompt B ends at 2: delete i2 first",
        ),
        (
            "prompt Mary went",
            "i2 (patch L1H1@13 from B@12) reaches token 13, the prompt ends at 2: delete i2 first",
        ),
    ):
        for _ in ("in force", "switched off"):
            before = everything(session)
            error = fail(session, line).error
            assert error is not None and error.message == message
            assert everything(session) == before
            do(session, "disable i1 i2")
        do(session, "enable i1 i2")
    do(session, "delete i2 i3", "prompt Mary went", "delete i1", "set means none")


def test_the_metric_asked_for_stays_when_tokens_change(session: Session) -> None:
    for name in ("logit", "prob", "logprob"):
        do(session, f"set metric {name}", "target Anna", "distractor John", "target Mary")
        assert session.state.inputs.metric.quantity.value == name
    do(session, "set metric logit_diff", "distractor")
    assert session.state.inputs.metric.quantity.value == "logit"
    fail(session, "set metric logit_diff")
    do(session, "distractor John")
    assert session.state.inputs.metric.quantity.value == "logit_diff"


def test_a_switched_off_edit_does_nothing(session: Session) -> None:
    value = session.snapshot.now.value
    do(session, "ablate L1H2")
    ablated = session.snapshot.now.value
    assert ablated != value
    do(session, "disable i1")
    assert session.snapshot.now.value == value
    do(session, "enable i1")
    assert session.snapshot.now.value == ablated
    do(session, "undo")
    assert session.snapshot.now.value == value


def test_an_ablation_is_what_the_model_does_without_the_part(session: Session) -> None:
    do(session, "ablate L1H2@3", "ablate M2@END value 0.25", "ablate L0H1 scale 2")
    trace, before = session.snapshot.now.trace, session.snapshot.base.trace
    assert bool((trace[Site.Z, 1][2, 3] == 0).all())
    assert bool((trace[Site.MLP_OUT, 2][END] == 0.25).all())
    assert torch.equal(trace[Site.Z, 0][1], before[Site.Z, 0][1] * 2)


def test_interrupting_any_run_leaves_the_session_as_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("ablate M0", "ablate L2H1@3", "patch A1 from B", "prompt Anna went to", "prompt B Anna went to",
             "target Anna ;; rank", "set means positions ;; ablate A0 mean", "undo", "run", "generate 5", "disable i1")  # fmt: skip
    for line in lines:
        session = begin(engine)
        do(session, "ablate L0H0 ;; n 3 ;; b A2")
        engine.forget()  # so that there is something to interrupt
        before = everything(session)
        stop_here, seen = engine.stop_here, [0]

        def stopping(site: Site, layer: int, x: torch.Tensor, through=stop_here, seen=seen) -> torch.Tensor:
            seen[0] += 1
            if seen[0] == 20:
                engine.interrupt.set()
            return through(site, layer, x)

        with monkeypatch.context() as patch:
            patch.setattr(engine, "stop_here", stopping)
            done = execute(session, line)[-1]
        assert done.interrupted and done.error is not None and done.error.code == "interrupted", line
        if ";;" not in line:
            assert everything(session) == before, line
        do(session, line)  # and the next time it runs


def test_a_reading_that_was_interrupted_can_be_asked_again(session: Session) -> None:
    session.engine.forget()
    do(session, "run")
    session.engine.interrupt.set()
    with pytest.raises(Interrupted):
        _ = session.snapshot.now.gradients
    assert do(session, "rank heads -n 1").result["rows"]


def test_a_stale_expression_does_not_stop_the_stepping(session: Session) -> None:
    do(session, "display attn(END, store)", "b A1, attn(END, store) >= 0", "watch attn(END, store) > 2")
    do(session, "prompt Mary went to")
    reply = do(session, "n")
    assert "d1 attn(END, store): no token 'store' in the prompt" in said(reply)
    reply = do(session, "c")
    assert reply.result["stopped_by"] == "w2"
    assert "Watch 2: attn(END, store) > 2 has no value: no token 'store'" in said(reply)
    do(session, "cl 2")
    reply = do(session, "c")
    assert reply.result["stopped_by"] == "b1"
    assert "Breakpoint 1: its condition attn(END, store) >= 0 has no value" in said(reply)


def test_control_characters_are_shown_and_not_sent(session: Session) -> None:
    hostile = 'prompt " Mary \\x1b[31m\\x07\\u202e\\u200b and"'
    for line in (
        hostile,
        "args",
        "info prompt",
        "logits",
        "history",
        "token @3",
        "rank -n 0",
        "p 1 ;; p '\x1b'",
    ):
        for done in execute(session, line):
            texts = done.reply.lines if done.reply else (str(done.error),)
            assert all(text.isprintable() and "\u200b" not in text for text in texts), line
    assert "\\x1b[31m" in said(do(session, "info prompt"))


def test_an_answer_goes_to_a_file_as_its_suffix_says(session: Session) -> None:
    reply = do(session, "rank heads -n 3 --out rows.json")
    assert json.loads(Path("rows.json").read_text()) == reply.result
    do(session, "lens --out lens.csv", "args --out args.txt", "rank --out=rank.md", "logits --out logits.tsv")
    header, *rows = Path("lens.csv").read_text().splitlines()
    assert header == "line,ld,delta,target_rank,top" and len(rows) == 10
    assert Path("args.txt").read_text().startswith("model ")
    assert Path("rank.md").read_text().startswith("```\n")
    assert Path("logits.tsv").read_text().count("\t") == 5 * 13
    before = everything(session)
    fail(session, "ablate L0H0 --out args.csv")
    assert everything(session) == before
    assert {path.name for path in Path().iterdir()} == {
        "rows.json", "lens.csv", "args.txt", "rank.md", "logits.tsv", "set.csv",
    }  # fmt: skip


def test_an_answer_can_be_asked_for_as_json(session: Session) -> None:
    reply = do(session, "logits @END 2 --json")
    assert json.loads(said(reply)) == reply.result


def test_python_sees_the_run_and_keeps_its_names(session: Session) -> None:
    do(session, "! x = reading.value")
    assert do(session, "! x == session.snapshot.now.value").lines == ("True",)
    fail(session, "! y = 1; 1/0")
    assert "y" not in session.python_names
    do(session, "ablate M0 ;; ! assert not torch.equal(trace[Site.MLP_OUT, 0], base[Site.MLP_OUT, 0])")


def test_a_text_that_begins_with_the_end_of_text_does_not_get_a_second(session: Session) -> None:
    do(session, 'prompt "<|endoftext|> Mary went"')
    assert len(session.state.inputs.prompt.tokens) == 3
    do(session, "prompt Mary went")
    assert len(session.state.inputs.prompt.tokens) == 3


SOUP = st.lists(
    st.sampled_from([
        *registry.names(), "n", "s", "L0H0", "L1H2@END", "A1", "M0@3:5", "N1.5", "E", "U", "BA0", "F0.3", "X1", "L0H*",
        "L0H0@END<2", "@END", "@Mary", "@99", "@*", "3", "0", "-1", "99", "²", "٣", "nan", "inf", "1e999", "zero", "mean",
        "value", "scale", "from", "B", "B@3", "by", "in", "+", "-", "heads", "all", "direct", "any", "A1,", "ld", "<",
        "resid_pre.1", "resid_mid.2@END", "L1H2.q", "L1.pattern@3", "ln1_scale.0", "ln_final_scale", "L0H1,M0@3,M1", "all",
        "but", "resample", "noise", "seed", "cut", "B@END<2", "attn", "ln", "+=", "=", "clamp", "* dir(Mary - John)", "per",
        "unit(embed(Mary))", "diff(set, set)", "up.npy", "set", "template", "role", "B.IO=3",
        "i1", "b1", "w2", "--all", "-n", "--from", "--json", "'", '" Mary"', "Mary,John", "pos", "IO=2", "means",
        "positions", "none", "metric", "prob", "\x1b[31m", "it's", "top(1e9)", "cos(U,", "E)", "--seed", "~nobody/x", "\0",
        ".", ",", ";;", "!", "$x", "9" * 5000,
    ]).filter(lambda word: word not in ("save", "export", "source", "load")),
    max_size=5,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SOUP, min_size=1, max_size=3))
def test_no_line_whatever_raises_and_none_that_fails_changes_anything(
    engine: Engine, soup: list[list[str]]
) -> None:
    session = begin(engine)
    for line in map(" ".join, soup):
        before = everything(session)
        done = execute(session, line)
        if len(done) == 1 and not done[0].ok:
            assert everything(session) == before
