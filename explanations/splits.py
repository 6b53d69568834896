"""Which of a component's examples an explanation is made from, and which it is judged on; never the same sequence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from explanations.records import Example, Sampling

QUIET = 0.1
"A sequence is without the component where its peak is below this share of the largest peak (TDB's, for heads)."


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A sequence to judge on, and what it is: `top`, `quantile`, `random` or `negative`."""

    example: Example
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    explain: tuple[Held, ...]
    "What an explanation is made from: every other sequence of each kind."
    calibrate: tuple[Held, ...]
    "What its scale is fitted on and one of several hypotheses is chosen by: every fourth."
    score: tuple[Held, ...]
    "What it is scored on: every fourth."
    peak: float
    "The largest activation in `explain`."


def split(examples: Mapping[Sampling, Sequence[Example]]) -> Splits:
    """Deal the examples out, kind by kind in the order given; a sequence that comes twice counts where it came first.

    Random sequences in which the component is quiet although they hold a token at which it peaks are `negative`:
    the hard ones, which an explanation by tokens alone gets wrong.
    """
    parts: tuple[list[Held], list[Held], list[Held]] = ([], [], [])
    seen: set[tuple[int, ...]] = set()
    for sampling in (Sampling.TOP, Sampling.QUANTILE, Sampling.RANDOM):
        fresh = [each for each in examples.get(sampling, ()) if each.tokens not in seen]
        fresh = list({each.tokens: each for each in fresh}.values())
        seen.update(each.tokens for each in fresh)
        for number, example in enumerate(fresh):
            parts[(0, 1, 0, 2)[number % 4]].append(Held(example, sampling.value))
    peak = max((held.example.value for held in parts[0]), default=0.0)
    tokens = peak_tokens(held.example for held in parts[0] if held.kind == Sampling.TOP.value)
    explain, calibrate, score = (
        tuple(_hardened(held, tokens, QUIET * peak) for held in part) for part in parts
    )
    return Splits(explain, calibrate, score, peak)


def peak_tokens(examples: Iterable[Example]) -> frozenset[int]:
    """The tokens at which a component peaks; of a head those that it reads from."""
    return frozenset(
        example.tokens[example.peak if example.key is None else example.key] for example in examples
    )


def _hardened(held: Held, tokens: frozenset[int], quiet: float) -> Held:
    hard = held.example.value < quiet and not tokens.isdisjoint(held.example.tokens)
    return Held(held.example, "negative") if hard and held.kind == Sampling.RANDOM.value else held
