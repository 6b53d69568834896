"""Drafts of circuits: kept while tracing, marked in the listing, saved, loaded and drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tdb_tui.circuits.drafts import Circuit, adding, cutting, joining, keeping, removing
from tdb_tui.circuits.files import file_text, read_circuit
from tdb_tui.circuits.tables import edge_text, elsewhere, listed, names, result, shown, summary
from tdb_tui.circuits.words import ARROW, edge_of, name_of, nodes_of
from tdb_tui.commands.circuit_numbers import evaluated, pruned
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.files.output import write_whole
from tdb_tui.language.arguments import at_most, file_path
from tdb_tui.language.parsing import Call, Word
from tdb_tui.replies import Reply
from tdb_tui.session import Session

DEFAULT = "draft"
"What a circuit is called that was begun without a name."

DRAWINGS = (".dot", ".csv", ".tsv", ".txt", ".md")
"Files that hold what `show` says of a circuit, and not the circuit."

Act = Callable[[Session, Call, Sequence[Word]], Reply]


@command(
    "circuit",
    "ci",
    usage="new|use|drop NAME, add|rm NODES, edge|rm A -> B [via q|k|v], keep [NAME], show, list, eval, prune CHANGE,"
    " save|load FILE",
    group="keeping",
    options={"force": False, "ablate": True},
    complete=("draft", "node"),
    examples=("circuit new ioi ;; circuit add L2H1@END M0@END", "trace L2H1@END ;; circuit keep"),
)
def circuit(session: Session, call: Call) -> Reply:
    """A draft of a circuit: nodes and edges of this prompt, under a name.  Its lines have a `C` in the listing.

    new NAME       begin one; use NAME takes up another, list names them all, drop NAME forgets one
    add NODES      add nodes, one at each token named; rm NODES takes them out again, with their edges
    edge A -> B    say that B reads what A writes, through a head's q, k or v; rm A -> B takes it out again
    keep [NAME]    keep the trail: each frame a node, with an edge to what it was traced for
    show           its nodes with their effects, and its edges; --out FILE.dot draws it, FILE.json tells it to others
    eval           the metric with every other head ablated (every other MLP too, where it has one), and without the
                   circuit's own; --ablate zero or mean, else as `set ablation` says.  A latent keeps what its SAE
                   takes apart, but of it no other latent and no error at its token
    prune CHANGE   take out, the weakest first, each node without which it keeps the same to within CHANGE
    save FILE      keep it in a file of its own, which load FILE takes up; a saved session holds every circuit too

    A draft holds no effects: they are those of the run that is looked at.  Undo leaves it as it is.
    """
    word = call.args[0] if call.args else Word("show" if session.state.draft else "list", call.name.col)
    if word.text not in ACTS:
        guess = did_you_mean(word.text, ACTS) or f": {', '.join(ACTS)}"
        raise CommandError(f"circuit has no {word.text!r}{guess}", "bad-argument", col=word.col)
    if call.has("ablate") and word.text not in ("eval", "prune"):
        raise CommandError("--ablate goes with eval and prune: circuit eval --ablate mean", "bad-option")
    if call.has("force") and word.text != "drop":
        raise CommandError("--force goes with drop: circuit drop NAME --force", "bad-option")
    words = call.args[1:]
    try:
        return ACTS[word.text](session, call, words)
    except ValueError as error:
        raise CommandError(str(error), "bad-circuit", col=(words or (word,))[0].col) from None


def _new(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    name = name_of(words, "new")
    if _named(session, name):
        raise ValueError(f"there is a circuit {name} already: circuit use {name}, or take another name")
    return _keep(session, Circuit(name, session.state.inputs.prompt), f"circuit {name} begun")


def _use(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    found = _existing(session, name_of(words, "use"))
    return _keep(session, found, summary(found))


def _drop(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    state, found = session.state, _existing(session, name_of(words, "drop"))
    if not found.saved and not call.has("force"):
        message = f"circuit {found.name} is in no file: circuit save FILE first, or circuit drop {found.name} --force"
        raise CommandError(message, "unsaved", col=words[0].col)
    left = tuple(each for each in state.circuits if each is not found)
    current = state.circuit if state.circuit != found.name else left[-1].name if left else ""
    session.go(replace(state, circuits=left, circuit=current))
    said = f"dropped circuit {found.name}"
    return Reply((said,), {"circuit": current or None, "dropped": found.name})


def _add(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    before = _begun(session)
    after = adding(before, nodes_of(session.snapshot, words, "add"))
    added = after.nodes[len(before.nodes) :]
    what = f"added {names(session.snapshot, added)}" if added else "nothing new"
    return _keep(session, after, f"{what}   {summary(after)}")


def _rm(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    before, snapshot = _of_this_prompt(session, _current(session)), session.snapshot
    if any(ARROW in word.text for word in words):
        edge = edge_of(snapshot, call, "rm")
        after, gone = cutting(before, edge), edge_text(snapshot, edge)
    else:
        nodes = nodes_of(snapshot, words, "rm")
        after, gone = removing(before, nodes), names(snapshot, nodes)
    return _keep(session, after, f"took out {gone}   {summary(after)}")


def _edge(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    before, snapshot = _begun(session), session.snapshot
    edge = edge_of(snapshot, call, "edge")
    after = joining(before, edge, snapshot.n_layer)
    return _keep(session, after, f"edge {edge_text(snapshot, edge)}   {summary(after)}")


def _trail(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    state = session.state
    before = _begun(session, name_of(words, "keep") if words else "")
    if not state.frames:
        raise CommandError("there is no trail to keep: trace a node first", code="no-frame")
    after, wrong = keeping(before, state.frames, state.inputs.metric.pos, session.snapshot.n_layer)
    reply = _keep(session, after, f"kept the trail   {summary(after)}")
    return replace(reply, warnings=tuple(f"no edge: {each}" for each in wrong))


def _show(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    at_most(call, 1)
    return shown(session.snapshot, _current(session))


def _eval(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    return evaluated(session, call, _of_this_prompt(session, _current(session)))


def _prune(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    left, reply = pruned(session, call, _of_this_prompt(session, _current(session)), words)
    _keep(session, left, "")
    return reply


def _list(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    at_most(call, 1)
    return listed(session.snapshot)


def _save(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    if not words:
        raise CommandError("save to which file: circuit save ioi.json", code="missing-argument")
    at_most(call, 2)
    found, path = _current(session), file_path(words[0])
    if path.suffix in DRAWINGS:
        message = f"a {path.suffix} file cannot be loaded again: save {path.stem}.json, or circuit show --out {path}"
        raise CommandError(message, "bad-file", col=words[0].col)
    write_whole(path, file_text(session, found))
    reply = _keep(session, replace(found, saved=True), f"saved {path}   {summary(found)}")
    return replace(reply, result={**reply.result, "file": str(path)}, script="")


def _load(session: Session, call: Call, words: Sequence[Word]) -> Reply:
    if not words:
        raise CommandError("load which file: circuit load ioi.json", code="missing-argument")
    at_most(call, 2)
    found = read_circuit(session, file_path(words[0]))
    here = _named(session, found.name)
    if here is not None and not here.saved:
        message = f"circuit {found.name} here is in no file and would be lost: circuit save FILE first"
        raise CommandError(message, "unsaved", col=words[0].col)
    reply = _keep(session, found, f"loaded {words[0].text}   {summary(found)}")
    strange = not found.is_of(session.state.inputs.prompt)
    return replace(reply, warnings=(elsewhere(found),)) if strange else reply


ACTS: Mapping[str, Act] = {
    "new": _new,
    "use": _use,
    "add": _add,
    "rm": _rm,
    "edge": _edge,
    "keep": _trail,
    "show": _show,
    "list": _list,
    "eval": _eval,
    "prune": _prune,
    "save": _save,
    "load": _load,
    "drop": _drop,
}


def _keep(session: Session, circuit: Circuit, said: str) -> Reply:
    """Put a circuit into the session, in place of the one of its name, and make it the one that is shown."""
    state = session.state
    if _named(session, circuit.name):
        circuits = tuple(circuit if each.name == circuit.name else each for each in state.circuits)
    else:
        circuits = (*state.circuits, circuit)
    session.go(replace(state, circuits=circuits, circuit=circuit.name))
    return Reply((said,), result(circuit))


def _named(session: Session, name: str) -> Circuit | None:
    return next((each for each in session.state.circuits if each.name == name), None)


def _existing(session: Session, name: str) -> Circuit:
    found = _named(session, name)
    if found is None:
        known = [each.name for each in session.state.circuits]
        raise ValueError(f"no circuit {name}{did_you_mean(name, known) or ': circuit list names them'}")
    return found


def _current(session: Session) -> Circuit:
    if session.state.draft is None:
        raise CommandError("no circuit yet: circuit new NAME begins one", code="no-circuit")
    return session.state.draft


def _begun(session: Session, name: str = "") -> Circuit:
    """The circuit to add to: that of the name, the one in use, or a new one."""
    found = _named(session, name) if name else session.state.draft
    if found is None:
        return Circuit(name or DEFAULT, session.state.inputs.prompt)
    return _of_this_prompt(session, found)


def _of_this_prompt(session: Session, found: Circuit) -> Circuit:
    """Raises CommandError for another prompt's: words such as @END would name other tokens."""
    if not found.is_of(session.state.inputs.prompt):
        message = f"circuit {found.name} is of another prompt: circuit new NAME begins one for this"
        raise CommandError(message, code="other-prompt")
    return found
