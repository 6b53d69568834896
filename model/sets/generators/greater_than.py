"""Greater-than: "The war lasted from the year 1732 to the year 17" -> any of "33" to "99".

After Hanna et al. 2023, "How does GPT-2 compute greater-than?", whose counterfactual is the year 01, after which
every ending is greater.  Only years that the tokenizer splits into century and year, as " 17" and "32", are used.
"""

from collections.abc import Iterator
from random import Random

from model.demo.vocabulary import EVENTS
from model.sets.generators.slots import example, is_single, known_templates, single_words
from model.sets.prompts import Example, PromptError
from model.tokenizer import Tokenizer

TEMPLATES = {"lasted": "The {NOUN} lasted from the year {XX}{YY} to the year {END}"}
CENTURIES = range(11, 18)
STARTS = range(2, 99)
"Something is always smaller and something always greater."
FIRST = "01"


def examples(tokenizer: Tokenizer, rng: Random) -> Iterator[Example]:
    """An event, a century and a year, drawn anew."""
    events = single_words(tokenizer, EVENTS, "events", 1)
    ((name, template),) = known_templates(tokenizer, TEMPLATES).items()
    years = [(century, year) for century in CENTURIES for year in STARTS if _splits(tokenizer, century, year)]
    if not years:
        raise PromptError("no year is split into century and year by this tokenizer: greater-than needs such")
    endings = [f"{year:02}" for year in range(100)]
    while True:
        century, start = rng.choice(years)
        words = {"NOUN": rng.choice(events), "XX": str(century), "YY": f"{start:02}", "END": str(century)}
        greater, rest = (
            [ending for ending in part if is_single(tokenizer, ending)]
            for part in (endings[start + 1 :], endings[: start + 1])
        )
        yield example(tokenizer, template, words, {"YY": FIRST}, greater, rest, name)


def _splits(tokenizer: Tokenizer, century: int, year: int) -> bool:
    """Whether the year, the same one later, and the counterfactual's are each a century and two digits."""
    return all(
        [tokenizer.text(id) for id in tokenizer.encode(f" {century}{digits}")] == [f" {century}", digits]
        for digits in (f"{year:02}", f"{year + 1:02}", FIRST)
    )
