"""What does this component do?  Prompts for neurons, latents and MLPs, and for heads, and for a second look."""

import re
from collections.abc import Sequence

from explanations.asking.marks import Spell, columns, strongest_pairs, with_pair
from explanations.asking.requests import Answer, BadAnswer, Message, Request
from explanations.records import Example
from explanations.splits import Splits

VERSION = "explain-1"
"Kept with every explanation; a change of wording is a new version."
SHOWN = 5
"Sequences that are shown (TDB)."
ANSWER_TOKENS = 80

NEURON = (
    "We study neurons in a language model.  Each neuron looks for one particular thing in a short text.  You see parts "
    "of texts where one neuron is most active: a line for each token, the token, a tab, and how active the neuron is, "
    "from 0 to 10.  Say in one sentence what it looks for: what the tokens are, or what comes before or after them.  "
    "Don't list examples of words unless there is nothing more general.  Don't write more than one sentence."
)
NEURON_SHOT = (
    "<start>\nShe\t0\n kept\t0\n walking\t10\n and\t0\n singing\t9\n all\t0\n morning\t1\n<end>\n"
    "<start>\n the\t0\n running\t8\n water\t0\n was\t0\n cold\t0\n<end>",
    "This neuron is active on verbs that end in -ing.",
)
HEAD = (
    "We study attention heads in a language model.  A head moves information from one token to the same or a later "
    "one.  In each text below, the token it moves information to is marked **so**, and the token that it moves it from "
    "[[so]]; [[**so**]] is both.  Say in one sentence what the head does: from what kind of token, to what kind of "
    "token.  Don't write more than one sentence."
)
HEAD_SHOT = (
    "When[[ Ann]] met Tom,** she** smiled.\nThe [[ king]] said that** he** would come.",
    "This attention head looks from a pronoun back to the person that it stands for.",
)


def explain_request(splits: Splits, spell: Spell, pairs: bool, temperature: float = 1.0) -> Request:
    """The question of what a component does, from `splits.explain`."""
    examples = [held.example for held in splits.explain[:SHOWN]]
    system, shot = (HEAD, HEAD_SHOT) if pairs else (NEURON, NEURON_SHOT)
    data = _pairs(examples, spell) if pairs else columns(examples, spell)
    messages = (
        Message("system", system),
        Message("user", shot[0]),
        Message("assistant", shot[1]),
        Message("user", data),
    )
    return Request(messages, ANSWER_TOKENS, temperature)


def revise_request(
    text: str, examples: Sequence[Example], spell: Spell, pairs: bool, temperature: float = 1.0
) -> Request:
    """The same question with an explanation to improve, and sequences on which it predicted badly."""
    system = HEAD if pairs else NEURON
    data = _pairs(examples, spell) if pairs else columns(examples, spell)
    ask = (
        f"An explanation was: {text}\nOn these texts it predicted badly; here is what really happens:\n{data}\n"
        "Write one better sentence that fits these too."
    )
    return Request((Message("system", system), Message("user", ask)), ANSWER_TOKENS, temperature)


def read_sentence(answer: Answer) -> str:
    """The explanation in one line.  Raises BadAnswer for an empty one."""
    text = " ".join(answer.text.split()).strip("\"' ")
    text = re.sub(
        r"^(this|the) (neuron|attention head|head|latent|feature)( is| was)? ", "", text, flags=re.I
    )
    if not text:
        raise BadAnswer("the answer is empty")
    return text


def _pairs(examples: Sequence[Example], spell: Spell) -> str:
    return "\n".join(
        with_pair(example, query, key, spell) for example, query, key in strongest_pairs(examples)
    )
