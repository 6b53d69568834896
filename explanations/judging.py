"""Every score of an explanation that predicts activations, whoever predicts: a table, or a language model."""

from collections.abc import Iterable

from explanations.calibration import Calibration, fitted
from explanations.questions import Predict, answered, detection, fuzzing, places
from explanations.records import Score
from explanations.scoring import Simulated, auc_score, judged_score, simulation_scores
from explanations.splits import QUIET, Held, Splits

FIRST = {False: "correlation", True: "auc"}
"What explanations are ranked by: a head's by the pairs that it finds (TDB), all others by the activations."


def judge(
    predict: Predict, splits: Splits, calibration: Calibration = Calibration.LINEAR, seed: int = 0
) -> tuple[Score, ...]:
    """All scores on the held-out sequences, the one to rank by first; nothing where there are none.

    The scale of the predictions, and the threshold of a yes, are fitted on `splits.calibrate`.
    """
    calibrated = fitted(calibration, simulated(predict, splits.calibrate))
    raw = simulated(predict, splits.score)
    held = [Simulated(calibrated(each.predicted), each.true, each.kind) for each in raw]
    peak = splits.peak
    asked = {
        "detection": (detection(splits.score, peak), detection(splits.calibrate, peak)),
        "fuzzing": (fuzzing(splits.score, peak, seed), fuzzing(splits.calibrate, peak, seed)),
    }
    found = [
        *simulation_scores(held, seed),
        auc_score(held, QUIET * peak, seed),
        *(judged_score(name, answered(predict, *pair), seed) for name, pair in asked.items()),
    ]
    return ordered((score for score in found if score is not None), of_pairs(splits))


def simulated(predict: Predict, held: Iterable[Held]) -> list[Simulated]:
    """Prediction beside truth for each sequence."""
    return [
        Simulated(predict(each.example.tokens), places(each.example.activations), each.kind) for each in held
    ]


def of_pairs(splits: Splits) -> bool:
    """Whether the examples are a head's."""
    return any(each.example.key is not None for each in (*splits.explain, *splits.score))


def ordered(scores: Iterable[Score], pairs: bool) -> tuple[Score, ...]:
    """The score to rank by first, the others as they come."""
    return tuple(sorted(scores, key=lambda score: score.name != FIRST[pairs]))
