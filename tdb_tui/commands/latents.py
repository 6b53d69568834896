"""SAEs of a session: loaded, read on the prompt, their latents swapped in, and one latent looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from model.about.latents import neighbours, read_by
from model.about.reads import top_tokens
from model.components import DICTIONARY, Component, Kind, Node
from model.dictionaries import LETTER_OF, dictionary_of
from model.edits.interventions import flat
from model.latents import latent_value, row_of, token_attribution
from sae.quality import Quality, quality
from sae.reading import place_of
from tdb_tui.commands.ranking import ranked_rows, rows_result
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import plain, probability, token_label
from tdb_tui.language.arguments import at_most, node_word, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.saes import with_saes
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import Sae
from tdb_tui.tables.promoted import end_rows, ends_lines, left_out, promoted
from tdb_tui.tables.ranking import SIDES

ROWS = 8


def set_sae(session: Session, call: Call) -> Reply:
    """`set sae [SITE.LAYER=]PATH` adds, `set sae none` takes all away.  Raises CommandError."""
    inputs, words = session.decided.inputs, call.args[1:]
    if [word.text for word in words] == ["none"]:
        _refuse_in_use(session)
        view = replace(session.state.rank, latents=frozenset(), kinds=_without(session.state.rank.kinds))
        session.change(replace(inputs, saes=()), call.text, replace(session.state, rank=view))
        return Reply(("no SAEs are loaded",), {"saes": []})
    found: list[Sae] = []
    for word in words:
        try:
            found += session.engine.saes.find(word.text)
        except CommandError as error:
            raise CommandError(error.message, error.code, error.hint, word.col) from None
    session.change(replace(inputs, saes=with_saes(inputs.saes, found)), call.text)
    return loaded(session.snapshot, found)


def _without(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(kind for kind in kinds if kind not in ("latent", "error")) or ("head", "mlp", "embed")


def _refuse_in_use(session: Session) -> None:
    for edit in session.decided.inputs.edits:
        if any(change.component.kind in DICTIONARY for change in flat(edit.changes)):
            raise CommandError(
                f"i{edit.number} edits what an SAE has: delete i{edit.number} first", code="bad-edit"
            )


def loaded(snapshot: Snapshot, saes: Sequence[Sae]) -> Reply:
    """What SAEs are and how they do on this prompt."""
    found = list(_qualities(snapshot, saes))
    return Reply(columns(sae_rows(found), "-rrrr-"), {"saes": [_row(*each) for each in found]})


def _qualities(snapshot: Snapshot, saes: Sequence[Sae]) -> Iterator[tuple[Sae, int, Quality]]:
    """Each with its number of latents and how it does in the run without edits."""
    base = snapshot.base
    for sae in saes:
        at = place_of(sae.place)
        found = quality(base.model, base.trace, at, base.sources, also=base.also)
        yield sae, base.trace.dictionaries[at].n_latent, found


def sae_cells(snapshot: Snapshot) -> list[tuple[str, ...]]:
    """Those that are loaded, in columns."""
    return sae_rows(list(_qualities(snapshot, snapshot.state.inputs.saes)))


def sae_rows(found: Sequence[tuple[Sae, int, Quality]]) -> list[tuple[str, ...]]:
    head = ("sae", "latents", "L0", "explained", "CE recovered", "file")
    rows = [(_name(sae), f"{count:,}", *_numbers(of), sae.path) for sae, count, of in found]
    return [head, *rows] if rows else []


def _name(sae: Sae) -> str:
    """`Fm3`, as its latents are addressed."""
    site, layer = place_of(sae.place)
    return f"F{LETTER_OF[site]}{layer}"


def _numbers(of: Quality) -> tuple[str, str, str]:
    return f"{of.l0:.1f}", f"{of.explained:.3f}", f"{of.recovered:.3f}"


def _row(sae: Sae, count: int, found: Quality) -> dict[str, object]:
    numbers = {"l0": found.l0, "explained": found.explained, "ce_recovered": found.recovered}
    return {"place": sae.place, "path": sae.path, "latents": count, **numbers}


@command(
    "latents",
    usage="[mlps|heads|stream]",
    group="seeing",
    repeat=Repeat.NOTHING,
    complete=("latents",),
    examples=("latents mlps", "latents heads"),
)
def latents(session: Session, call: Call) -> Reply:
    """Latents in the places of MLPs and neurons, of heads, or of all before in the stream; again takes it back.

    Every ranking then has the latents of the loaded SAEs, what they leave over (Xm3) and their biases (BFm3) in place
    of what they take apart; layers without an SAE keep their rows.  The books balance as before.  `step` opens a line
    into them likewise.
    """
    at_most(call, 1)
    word = call.args[0].text if call.args else "mlps"
    if word not in SIDES:
        right = did_you_mean(word, SIDES) or f": latents takes {', '.join(SIDES)}"
        raise CommandError(f"latents of {word!r}{right}", "bad-argument", col=call.args[0].col)
    letters, view = SIDES[word][0], session.state.rank
    if not any(LETTER_OF[at[0]] in letters for at in session.snapshot.now.trace.dictionaries):
        places = " or ".join(dict.fromkeys(_SITES[letter] for letter in letters))
        raise CommandError(f"no SAE of {places} is loaded: set sae PATH", code="no-sae")
    on = word not in view.latents
    kinds = view.kinds if set(view.kinds) & SIDES[word][1] else ("head", "mlp", "embed")
    swapped, place = view.latents ^ {word}, session.state.place
    if place.inside is not None:
        place = replace(place, inside=0)  # an opened line has other rows now
    session.go(replace(session.state, rank=replace(view, latents=swapped, kinds=kinds), place=place))
    said = f"{word}: {'latents' if on else 'the parts themselves'}"
    result = {"swapped": sorted(swapped), **rows_result(session.snapshot)}
    return Reply((said, *ranked_rows(session.snapshot, ROWS)), result, view="rank")


_SITES = {letter: site.text for site, letter in LETTER_OF.items()}


@command(
    "latent",
    usage="LATENT [-n N]",
    group="seeing",
    options={"n": True},
    complete=("node",),
    examples=("latent Fm3.17", "latent Fa2.5 -n 3"),
)
def latent(session: Session, call: Call) -> Reply:
    """One latent: how often it was active in training, its decoder's norm, the tokens it argues for, what is like it.

    And where it is active in this prompt, for attention latents with the token that it comes from; and which heads'
    queries, keys and values its write moves most for its size.
    """
    if not call.args:
        raise CommandError("which latent: latent Fm3.17", code="missing-argument")
    at_most(call, 1)
    snapshot, count = session.snapshot, option_integer(call, "n", ROWS, "a count", least=1)
    part = node_word(snapshot, call.args[0]).component
    if part.kind is not Kind.LATENT:
        raise CommandError(f"{part} is no latent: write Fm3.17", "bad-node", col=call.args[0].col)
    now = snapshot.now
    dictionary = dictionary_of(now.trace.dictionaries, part)
    active = [(pos, latent_value(now.trace, part, pos)) for pos in range(now.length)]
    active = [(pos, value) for pos, value in active if value]
    peak = max(active, key=lambda each: abs(each[1]))[0] if active else session.state.end
    ends = top_tokens(promoted(now, Node(part, peak)), count, left_out(snapshot, False))
    norm = float(row_of(now.model, now.trace, part).norm())
    density = None if dictionary.density is None else float(dictionary.density[part.index or 0])
    decoders, encoders = (neighbours(now.trace, part, count, encoder=encoder) for encoder in (False, True))
    readers = read_by(now.model, now.trace, part, count)
    trained = "" if density is None else f"   active on {probability(density)} of training"
    alike = [
        f"{name:9} " + " · ".join(f"F{part.site}{part.layer}.{at} {cosine:+.2f}" for at, cosine in found)
        for name, found in (("decoder ~", decoders), ("encoder ~", encoders))
    ]
    reads = " · ".join(f"{each.component}.{each.via.value} {each.strength:.2f}" for each in readers)
    return Reply(
        (
            f"{part}  one of {dictionary.n_latent:,} latents of {_SITES[part.site]}.{part.layer}"
            f"   norm of its write {plain(norm)}{trained}",
            *_firing(snapshot, part, active),
            *ends_lines(snapshot.tokenizer, ends, ("up", "logits", "down", "logits")),
            *alike,
            f"read by   {reads or 'nothing after it'}",
        ),
        {
            "node": str(part),
            "density": density,
            "norm": norm,
            "active": [{"pos": pos, "act": value} for pos, value in active],
            "up": end_rows(snapshot.tokenizer, ends.top, None),
            "down": end_rows(snapshot.tokenizer, ends.bottom, None),
            "decoder_neighbours": [{"index": at, "cosine": cosine} for at, cosine in decoders],
            "encoder_neighbours": [{"index": at, "cosine": cosine} for at, cosine in encoders],
            "read_by": [
                {"head": str(each.component), "via": each.via.value, "strength": each.strength}
                for each in readers
            ],
        },
    )


def _firing(snapshot: Snapshot, part: Component, active: list[tuple[int, float]]) -> tuple[str, ...]:
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    if not active:
        return ("active on no token of this prompt",)
    said: list[str] = []
    for pos, value in active:
        key = ""
        if part.site in "az":
            found = token_attribution(snapshot.now.model, snapshot.now.trace, Node(part, pos))
            key = f" ← {token_label(int(found.argmax()), tokens, tokenizer)}"
        said.append(f"{token_label(pos, tokens, tokenizer)} {plain(value)}{key}")
    return ("active    " + " · ".join(said),)
