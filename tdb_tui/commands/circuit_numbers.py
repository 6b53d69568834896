"""`circuit eval` and `circuit prune`: what a draft keeps of the metric, and what it can do without."""

import time
from collections.abc import Sequence

from model.components import DICTIONARY
from model.edits.interventions import Mode
from tdb_tui.circuits.drafts import Circuit
from tdb_tui.circuits.evaluating import Kept, ablates_mlps, evaluate, prune
from tdb_tui.circuits.tables import result, size
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import signed
from tdb_tui.language.arguments import at_most, number
from tdb_tui.language.parsing import Call, Word
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.settings import setting

MODES = {mode.value: mode for mode in (Mode.ZERO, Mode.MEAN)}


def evaluated(session: Session, call: Call, circuit: Circuit) -> Reply:
    """What the circuit keeps, what is left without it, and how that was found."""
    at_most(call, 1)
    mode = _mode(session, call)
    began = time.perf_counter()
    found = evaluate(session, circuit, mode)
    took = (time.perf_counter() - began) * 1000
    said = [
        f"circuit {circuit.name}: {size(circuit)}   {_kept(found)}   [{mode.value} ablation, {took:.0f} ms]"
    ]
    if found.faithfulness is not None:
        said.append(
            f"{100 * found.faithfulness:.0f} % of the way from none of them ({signed(found.none)}) to all"
        )
    what = "heads and MLPs" if ablates_mlps(circuit) else "heads; MLPs stay, for it has none"
    if any(node.component.kind in DICTIONARY for node in circuit.nodes):
        what += ", and what its SAEs have beside its latents at their tokens"
    said.append(f"ablated are the other {what}; embeddings and biases stay")
    return Reply(tuple(said), _result(circuit, found, mode), script="")


def pruned(session: Session, call: Call, circuit: Circuit, words: Sequence[Word]) -> tuple[Circuit, Reply]:
    """The circuit without what it can do without, and what is said of it.  Raises CommandError."""
    if not words:
        raise CommandError("prune below which change: circuit prune 0.1", code="missing-argument")
    at_most(call, 2)
    threshold, mode = number(words[0]), _mode(session, call)
    if threshold <= 0:
        message = f"{words[0].text} is no threshold: a change of the metric above 0, as in circuit prune 0.1"
        raise CommandError(message, "bad-number", col=words[0].col)
    left, many = circuit, len(circuit.nodes)
    try:
        for tried, smaller in prune(session, circuit, threshold, mode):
            left, session.engine.progress = smaller, f"{tried}/{many}"
    finally:
        session.engine.progress = ""
    found = evaluate(session, left, mode)
    gone = many - len(left.nodes)
    said = f"took out {gone} of {many} nodes   circuit {left.name}: {size(left)}   {_kept(found)}"
    return left, Reply((said,), _result(left, found, mode))


def _kept(found: Kept) -> str:
    share = f" ({100 * found.kept / found.whole:.0f} %)" if abs(found.whole) > 1e-9 else ""
    return f"keeps {signed(found.kept)} of {signed(found.whole)}{share}   without it {signed(found.without)}"


def _result(circuit: Circuit, found: Kept, mode: Mode) -> dict[str, object]:
    return {
        **result(circuit),
        "kept": found.kept,
        "whole": found.whole,
        "without": found.without,
        "none": found.none,
        "faithfulness": found.faithfulness,
        "ablation": mode.value,
    }


def _mode(session: Session, call: Call) -> Mode:
    """`--ablate mean`, else as `set ablation` says.  Raises CommandError."""
    given = next((option for option in reversed(call.options) if option.name == "ablate"), None)
    name = setting(session.state, "ablation") if given is None else given.value or ""
    if name not in MODES:
        right = did_you_mean(name, MODES) or f": {', '.join(MODES)}"
        col = None if given is None else given.col
        raise CommandError(f"a circuit cannot be evaluated by {name!r}{right}", "bad-mode", col=col)
    if name == "mean" and session.state.inputs.means is None:
        message = "mean needs reference prompts: 'set means FILE' or 'set means positions'"
        raise CommandError(message, "no-means", col=None if given is None else given.col)
    return MODES[name]
