"""OpenAI's records and explanations of GPT-2's neurons, heads and latents (Bills et al. 2023; Transformer Debugger).

Both spellings of renamed keys are read: `neuron_index` and `idx`, `layer_index` and `layer`, and for heads and latents
ids of their own names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from explanations.published.parsing import (
    a_list,
    a_sentence,
    an_index,
    an_object,
    floats_of,
    member,
    number_or_nan,
    parsed,
    passage,
    tokens_of,
)
from explanations.published.records import Passage, Published, PublishedError
from explanations.records import Explanation, Moments, Sampling, Score
from model.components import Component

ID = ("neuron_id", "attention_head_id", "autoencoder_latent_id", "latent_id", "node_id", "id")
INDEX = ("neuron_index", "idx", "head_index", "attention_head_index", "latent_index", "index")
LAYER = ("layer_index", "layer")
TOP = ("most_positive_activation_records", "most_positive_token_pair_activation_records")
SCORES = {
    "ev_correlation_score": "correlation",
    "rsquared_score": "r2",
    "absolute_dev_explained_score": "absolute deviation",
}
"Theirs -> ours; the first is the one that they rank by."


def record(data: bytes, component: Component, pairs: bool, where: str) -> Published:
    """A `NeuronRecord`; with `pairs` its activations are those of pairs of tokens.  Raises PublishedError."""
    found = parsed(data, where)
    _same(found, component, where)
    by_quantile = found.get("random_sample_by_quantile") or []
    quantiles = [
        each
        for quantile in a_list(by_quantile, "random_sample_by_quantile", where)
        for each in a_list(quantile, "a quantile", where)
    ]
    samples = {
        Sampling.TOP: member(found, TOP, where),
        Sampling.QUANTILE: quantiles,
        Sampling.RANDOM: found.get("random_sample") or [],
    }
    passages = {
        sampling: _passages(
            a_list(each, sampling.value, where), pairs, where, sampling is not Sampling.RANDOM
        )
        for sampling, each in samples.items()
    }
    if not any(passages.values()):
        raise PublishedError(f"{where} holds no text at all")
    shape = [number_or_nan(found.get(name)) for name in ("mean", "variance", "skewness", "kurtosis")]
    return Published(str(component), passages, Moments(0, *shape))


def explanations(data: bytes, component: Component, method: str, where: str) -> tuple[Explanation, ...]:
    """`NeuronSimulationResults`, one a line; those that say something.  Raises PublishedError."""
    found: list[Explanation] = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            found += _of_line(parsed(line, f"{where}:{number}"), component, method, f"{where}:{number}")
    return tuple(found)


def _of_line(line: Mapping[str, Any], component: Component, method: str, where: str) -> list[Explanation]:
    _same(line, component, where)
    found: list[Explanation] = []
    for each in a_list(member(line, ("scored_explanations",), where), "scored_explanations", where):
        scored = an_object(each, "an explanation", where)
        text = a_sentence(member(scored, ("explanation",), where), "explanation", where)
        if text:
            found.append(Explanation(str(component), text, method, scores=_scores(scored, where)))
    return found


def _scores(scored: Mapping[str, Any], where: str) -> tuple[Score, ...]:
    """Those of the simulation; a head's is the ROC-AUC."""
    if pairs := scored.get("scored_attention_simulation"):
        about = an_object(pairs, "scored_attention_simulation", where)
        count = len(a_list(about.get("attention_simulations") or [], "attention_simulations", where))
        return _score(about, "roc_auc_score", "auc", count)
    if not (simulation := scored.get("scored_simulation")):
        return ()
    about = an_object(simulation, "scored_simulation", where)
    count = len(a_list(about.get("scored_sequence_simulations") or [], "scored_sequence_simulations", where))
    return tuple(score for theirs, ours in SCORES.items() for score in _score(about, theirs, ours, count))


def _score(about: Mapping[str, Any], theirs: str, ours: str, count: int) -> tuple[Score, ...]:
    value = number_or_nan(about.get(theirs))
    return (Score(ours, value, samples={"published": count}),) if value == value else ()


def _same(found: Mapping[str, Any], component: Component, where: str) -> None:
    """Raises PublishedError for a file about another component: the path or the file is wrong."""
    about = an_object(member(found, ID, where), "its id", where)
    layer = an_index(member(about, LAYER, where), "its layer", where)
    index = an_index(member(about, INDEX, where), "its index", where)
    if (layer, index) != (component.layer, component.index):
        raise PublishedError(f"{where} is about {layer}:{index}, not about {component}")


def _passages(found: Sequence[Any], pairs: bool, where: str, by_peak: bool) -> tuple[Passage, ...]:
    passages = [_passage(an_object(each, "a record", where), pairs, where) for each in found]
    return tuple(sorted(passages, key=lambda each: -each.peak) if by_peak else passages)


def _passage(found: Mapping[str, Any], pairs: bool, where: str) -> Passage:
    tokens = tokens_of(member(found, ("tokens",), where), "tokens", where)
    numbers = floats_of(member(found, ("activations",), where), "activations", where)
    return passage(tokens, numbers, pairs, where)
