"""Features with their sentences."""

from collections.abc import Callable

from explanations.hypotheses import features
from explanations.hypotheses.features import POSITIONS, RELATIONS, SHIFT, Feature

Spell = Callable[[int], str]
PROMOTED = 5
"Promoted tokens that a sentence names."


def quoted(key: int, spell: Spell) -> str:
    return repr(spell(key))


def two(key: int, spell: Spell) -> str:
    return f"{spell(key & ((1 << SHIFT) - 1))!r} after {spell(key >> SHIFT)!r}"


def from_to(key: int, spell: Spell) -> str:
    return f"{spell(key & ((1 << SHIFT) - 1))!r} seen from {spell(key >> SHIFT)!r}"


def span(key: int, spell: Spell) -> str:
    first = 0 if key == 0 else POSITIONS[key - 1]
    if key == len(POSITIONS):
        return f"{first} and up"
    last = POSITIONS[key] - 1
    return str(first) if first == last else f"{first} to {last}"


def back(key: int, spell: Spell) -> str:
    return ("the token itself", "the token before")[key] if key < 2 else f"tokens {span(key, spell)} back"


def new_or_old(key: int, spell: Spell) -> str:
    return "a token that came before in the text" if key else "a token that is new in the text"


def related(key: int, spell: Spell) -> str:
    return RELATIONS[key] or "tokens that are none of first, same, last or repeated"


TOKENS = (
    Feature("token", "active on {}", features.token, quoted),
    Feature("preceding token", "active right after {}", features.preceding, quoted),
    Feature("following token", "active right before {}", features.following, quoted),
    Feature("bigram", "active on {}", features.bigram, two),
    Feature("position", "active at position {}", features.position, span),
    Feature("repeated token", "active on {}", features.repeat, new_or_old),
    Feature("after a repeat", "active right after {}", features.after_repeat, new_or_old),
)
"What may explain a neuron, an MLP or a latent."

PAIRS = (
    Feature("relation", "attends to {}", features.relation, related),
    Feature("key token", "attends to {}", features.key_token, quoted),
    Feature("query token", "attends back from {}", features.query_token, quoted),
    Feature("token pair", "attends to {}", features.both_tokens, from_to),
    Feature("before the key", "attends to what comes right after {}", features.before_key, quoted),
    Feature("distance", "attends to {}", features.distance, back),
)
"What may explain a head, token pair by token pair."


def promotion(promoted: tuple[int, ...]) -> Feature:
    """Active where a token comes next that the component's write raises."""

    def word(key: int, spell: Spell) -> str:
        names = ", ".join(repr(spell(id)) for id in promoted[:PROMOTED])
        return (
            f"one of what it promotes comes next ({names})" if key else "nothing that it promotes comes next"
        )

    return Feature("promoted tokens", "active where {}", features.one_of(frozenset(promoted)), word)
