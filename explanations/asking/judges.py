"""Yes or no, asked of a language model: detection and fuzzing (Paulo et al. 2024)."""

from explanations.asking.marks import Spell, shown, with_marks
from explanations.asking.requests import Answer, BadAnswer, Message, Request
from explanations.questions import Question

VERSION = "judge-1"

DETECTION = (
    "We study neurons in a language model.  You get what a neuron looks for, and a text.  Is there anything in the "
    "text that it looks for?  Answer 1 for yes or 0 for no, and nothing else."
)
FUZZING = (
    "We study neurons in a language model.  You get what a neuron looks for, and a text in which some tokens are "
    "marked <<so>>.  Are the marked tokens what it looks for?  Answer 1 for yes or 0 for no, and nothing else."
)


def judge_request(text: str, question: Question, spell: Spell) -> Request:
    """The question put to a model that is told what the component does."""
    tokens = question.example.tokens
    marked = question.marked
    system = DETECTION if marked is None else FUZZING
    words = (
        "".join(shown(token, spell) for token in tokens)
        if marked is None
        else with_marks(tokens, marked.tolist(), spell)
    )
    return Request(
        (Message("system", system), Message("user", f"The neuron looks for: {text}\n\n{words}")), 1
    )


def read_yes(answer: Answer) -> bool:
    """Raises BadAnswer for anything that begins with neither 0 nor 1."""
    first = answer.text.strip()[:1]
    if first not in ("0", "1"):
        raise BadAnswer("the answer is neither 0 nor 1")
    return first == "1"
