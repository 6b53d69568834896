"""Edits that cannot be made: one sentence each, and the stack, the metric and what can be redone stay as they were."""

from pathlib import Path

import pytest

from tdb_tui.session import Session
from tests.sessions import begin, do, fail, load

A = "When Mary and John went to the store, John gave a drink to"
LONGER = "When John and Mary went to the big store, Mary gave a drink to"
ROLES = "no token or role 'S9' in the prompt: the prompt has tokens 0–14, roles are IO, S1, START and END (h positions)"
LENGTHS = "A has 15 tokens and B has 16: give positions"
SCALES = (
    "is what a layer norm divides by, and stays above 0: freeze it, patch it, or ablate it to a mean, value 3, scale 2, "
    "noise 0.1"
)
REFUSED = {
    "patch L2H1 from B": f"{LENGTHS} (patch L2H1@14 from B@15) or roles (set pos)",
    "path L0H1 -> L2H1 from B direct": f"{LENGTHS} (patch L0H1@14 from B@15) or roles (set pos)",
    "patch L2H1@END from B@3:5": "1 positions cannot take 3 positions' values: give as many on both sides",
    "patch L2H1@END from B@99": "no token 99: prompt B has tokens 0–15",
    "patch L2H1.pattern@END from B@3": "an attention row is patched from that of the same query, since another sees other keys: patch pairs "
    "(patch L2H1@14<0 from B@3<0)",
    "patch L2H1.pattern@END from B@END": "an attention row is patched from that of the same query, since another sees other keys: patch pairs "
    "(patch L2H1@14<0 from B@15<0)",
    "patch L2H1@S9 from B": ROLES,
    "ablate L2H1@S9": ROLES,
    "path L2H1@S9 -> U from B": ROLES,
    "freeze L2H1@S9": ROLES,
    "steer N1.5@S9 = 3": ROLES,
    "sweep patch resid_pre @S9": ROLES,
    "whynot @S9": ROLES,
    "patch L2H1@END from B@S9": "no token or role 'S9' in prompt B: prompt B has tokens 0–15, roles are IO, START "
    "and END (h positions)",
    "patch L2H1 from 5": "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts",
    "prompts empty.jsonl": "empty.jsonl holds no prompts: one a row was expected",
    "set means empty.txt": "empty.txt holds no prompts: one a line was expected",
    "ablate M1 mean": "mean needs reference prompts: 'set means FILE' or 'set means positions'",
    "ablate M1 resample": "resample needs reference prompts: 'prompts ioi:50' or 'set means FILE'",
    "ablate": "ablate what: ablate L1H3, ablate M0@END",
    "edge ablate": "an edge has a sender and a reader: edge ablate L0H1 -> L2H1.q",
    "ablate L2H1@3<5": "key 5 is after query 3: attention is causal",
    "ablate L2H1@3<5 cut": "key 5 is after query 3: attention is causal",
    "edge ablate M3 -> L1H1.q": "M3 does not come before L1H1.q: an edge goes down the pass",
    "path L0H1@3,L0H1@2:4 -> U zero": "L0H1@2:4 is a sender twice: name each of its tokens once",
    "ablate M1 value 1e38": "logits are not finite after ablate M1@* value 1e+38: it was not made",
    "steer M2@END += 1e39 * dir(Mary)": 'logits are not finite after steer M2@14 += 1e+39 * dir(" Mary"): '
    "it was not made",
    **{
        line: f"logits are not finite after {made}: it was not made"
        for line, made in {
            "ablate M1 value 1e39": "ablate M1@* value 1e+39",
            "ablate L1H2@END<2 value 1e39": "ablate L1H2@14<2 value 1e+39",
            "steer N1.5@END = 1e39": "steer N1.5@14 = 1e+39",
            "steer N1.5 clamp 1e39 1e40": "steer N1.5@* clamp 1e+39 1e+40",
            "edge ablate M0 -> U value 1e39": "edge ablate M0@* -> U value 1e+39",
            "path M0 -> L5H0.q noise 1e39": "path M0@* -> L5H0.q noise 1e+39 seed 0 direct",
        }.items()
    },
    "sweep steer resid_pre.3@END += 0:1e39:3 * dir(Mary)": "the metric is not finite after steer resid_pre.3@14 += "
    '5e+38 * dir(" Mary"): the sweep stops there',
    "path L0H1 -> from B": "'from' isn't a node: write L9H9, A9, M9, N9.123, F9.123, E or U (h nodes)",
    "ablate all but": "all but what: ablate all but L5H0,M0 mean",
    "edge keep circuit nope zero": "no circuit nope: circuit list names them",
    "sweep patch heads over prompts": "no prompt set: prompts ioi:50, prompts FILE.jsonl, or --prompts",
    "ablate M3 value nan": "'nan' isn't a number",
    "ablate ln1_scale.3 zero": f"ln1_scale.3 {SCALES}",
    "ablate ln1_scale.3 scale 0": f"ln1_scale.3 {SCALES}",
    "ablate ln1_scale.3 scale -2": f"ln1_scale.3 {SCALES}",
    "ablate ln2_scale.3 value 0": f"ln2_scale.3 {SCALES}",
    "ablate ln2_scale.3 noise 1000": "a layer norm would divide by 0 or less after ablate ln2_scale.3@* noise 1000 "
    "seed 0: it was not made",
    "ablate ln_final_scale value 1e-39": "logits are not finite after ablate ln_final_scale@* value 1e-39: "
    "it was not made",
    "steer ln1_scale.3@END = 3": "ln1_scale.3 is one number a token that a layer norm divides by: "
    "ablate ln1_scale.3 value 3 sets it",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    engine = load(Path(__file__).parents[1] / "model" / "demo" / "gpt2-demo")
    session = begin(engine, A, LONGER)
    do(session, "set pos IO=2", "set pos S1=4", "set pos B.IO=4", "ablate L2H1@END", "ablate M3 ;; undo")
    return session


@pytest.mark.parametrize("line", REFUSED)
def test_an_edit_that_cannot_be_made_is_one_sentence_and_leaves_the_stack(
    session: Session, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty.jsonl", "empty.txt"):
        Path(name).write_text("\n")
    before, future = session.snapshot, list(session.future)
    error = fail(session, line).error
    assert error is not None and error.message == REFUSED[line]
    assert session.snapshot is before and list(session.future) == future
    assert [edit.text for edit in session.state.inputs.edits] == ["ablate L2H1@14 zero"]
