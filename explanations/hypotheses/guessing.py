"""The best hypotheses about a component, from its examples alone."""

from collections.abc import Callable, Iterable, Sequence

from explanations.hypotheses.shapes import shapes
from explanations.hypotheses.tables import Hypothesis, fit
from explanations.hypotheses.wording import PAIRS, TOKENS, promotion
from explanations.judging import FIRST, judge, of_pairs, simulated
from explanations.records import Explanation
from explanations.scoring import auc_score, simulation_scores
from explanations.splits import QUIET, Held, Splits

SLACK = 0.03
"Hypotheses whose fits differ by less are about as good."
KEPT = 3
"Hypotheses that are kept of a component."


def hypotheses(
    splits: Splits, promoted: tuple[int, ...] = (), spell: Callable[[int], str] | None = None
) -> list[Hypothesis]:
    """All of them, fitted on `splits.explain`, the best on `splits.calibrate` first.

    Of those that are about as good as the best, the one with the smallest table comes first: the sentences of large
    ones name single tokens where the truth may be a rule (as the one-standard-error rule of Breiman et al. 1984).
    """
    pairs = of_pairs(splits)
    features = PAIRS if pairs else TOKENS + ((promotion(promoted),) if promoted else ())
    if spell is not None:
        features += (shapes(spell)[pairs],)
    found = [fit(feature, splits.explain) for feature in features]
    chosen_on = splits.calibrate or splits.explain
    fits = {id(each): _fit(each, chosen_on, splits) for each in found}
    found.sort(key=lambda each: -fits[id(each)])
    good = [each for each in found if fits[id(each)] >= fits[id(found[0])] - SLACK]
    simplest = min(good, key=lambda each: len(each.keys))
    return [simplest, *(each for each in found if each is not simplest)]


def guess(
    node: str,
    splits: Splits,
    spell: Callable[[int], str],
    promoted: tuple[int, ...] = (),
    count: int = KEPT,
    seed: int = 0,
) -> tuple[Explanation, ...]:
    """The best hypotheses about a component, worded and scored on held-out sequences; best on the others first.

    Nothing about one that is never active in what it is explained from.
    """
    if not splits.explain or splits.peak <= 0:
        return ()
    return tuple(
        Explanation(
            node,
            found.text(spell),
            found.feature.name,
            scores=judge(found.predict, splits, seed=seed),
            samples=kinds(splits.explain),
        )
        for found in hypotheses(splits, promoted, spell)[:count]
    )


def kinds(held: Iterable[Held]) -> dict[str, int]:
    """How many sequences of each kind."""
    counts: dict[str, int] = {}
    for each in held:
        counts[each.kind] = counts.get(each.kind, 0) + 1
    return dict(sorted(counts.items()))


def _fit(found: Hypothesis, held: Sequence[Held], splits: Splits) -> float:
    """What explanations are ranked by, on the sequences to choose on; -1 where it cannot be told."""
    seen = simulated(found.predict, held)
    pairs = of_pairs(splits)
    scores = [*simulation_scores(seen), auc_score(seen, QUIET * splits.peak) if pairs else None]
    return next((score.value for score in scores if score and score.name == FIRST[pairs]), -1.0)
