"""Neuronpedia's features, from its API and from its exports: a JSON object a feature, or an object a line of a kind.

An export has explanations, activations or features (with statistics and promoted tokens) in files of their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from explanations.published.parsing import (
    a_list,
    a_sentence,
    a_text,
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
from explanations.records import Explanation, Sampling, Score
from model.components import Component, Kind

METHOD = "Neuronpedia"
SITES = {
    "res-jb": "r",
    "res_scefr-ajt": "r",
    "res_fs768-jb": "r",
    "res_mid_32k-oai": "i",
    "res_mid_128k-oai": "i",
    "res_post_32k-oai": "o",
    "res_post_128k-oai": "o",
    "mlp-oai": "m",
    "mlp_32k-oai": "m",
    "mlp_128k-oai": "m",
    "att_32k-oai": "a",
    "att_128k-oai": "a",
    "att-kk": "z",
}
"A set of dictionaries -> the letter of the place that they take apart."
ASKED = {
    "r": "res-jb",
    "i": "res_mid_32k-oai",
    "o": "res_post_32k-oai",
    "m": "mlp_32k-oai",
    "a": "att_32k-oai",
    "z": "att-kk",
}
"The set that is asked about a latent whose place alone is known."
SCORES = {"recall_alt": "detection", "eleuther_recall": "detection", "eleuther_fuzz": "fuzzing"}
"Theirs -> ours; others keep their names."


def source_of(component: Component, chosen: str | None = None) -> str:
    """The name of the dictionary that a latent is of, `6-res-jb`; of a neuron its layer.  Raises PublishedError."""
    if component.kind is Kind.NEURON:
        return str(component.layer)
    if component.kind is not Kind.LATENT or not (chosen or component.site in ASKED):
        raise PublishedError(
            f"Neuronpedia has neurons and latents, such as N3.17 and Fr3.17, not {component}"
        )
    return f"{component.layer}-{chosen or ASKED[component.site]}"


def node_of(source: str, index: int, letter: str | None, where: str) -> Component:
    """What Neuronpedia's `6-res-jb` and index are here; `letter` says the place of a set that is not known."""
    layer, _, kind = source.partition("-")
    number = an_index(layer, "its layer", where)
    if not kind or kind == "neurons":
        return Component(Kind.NEURON, number, index)
    site = letter or SITES.get(kind)
    if site is None:
        raise PublishedError(f"{where} is about {source}, whose place is not known here: name it with --site")
    return Component(Kind.LATENT, number, index, site)


def feature(data: bytes, component: Component, source: str, where: str) -> Published:
    """What the API answers about one feature.  Raises PublishedError."""
    found = parsed(data, where)
    about = a_text(member(found, ("layer",), where), "layer", where)
    index = an_index(member(found, ("index",), where), "index", where)
    if (about, index) != (source, component.index):
        raise PublishedError(f"{where} is about {about}:{index}, not about {component}")
    node = str(component)
    said = a_list(found.get("explanations") or [], "explanations", where)
    lines = a_list(found.get("activations") or [], "activations", where)
    return replace(
        _feature(found, node, where),
        passages=_passages([_passage(an_object(each, "an activation", where), where) for each in lines]),
        explanations=tuple(
            _explanation(an_object(each, "an explanation", where), node, where) for each in said
        ),
    )


def export(lines: Iterable[bytes], letter: str | None, where: str) -> Iterator[tuple[str, Published]]:
    """(model, component) for each line of an export, as far as the line knows it.  Raises PublishedError."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{where}:{number}"
            yield exported(parsed(line, place), letter, place)


def exported(found: Mapping[str, Any], letter: str | None, where: str) -> tuple[str, Published]:
    """One object of an export: an explanation, an activation or a feature, whichever keys it has."""
    model = a_text(member(found, ("modelId",), where), "modelId", where)
    source = a_text(member(found, ("layer",), where), "layer", where)
    index = an_index(member(found, ("index",), where), "index", where)
    node = str(node_of(source, index, letter, where))
    if "description" in found:
        return model, Published(node, explanations=(_explanation(found, node, where),))
    if "tokens" in found:
        return model, Published(node, _passages([_passage(found, where)]))
    return model, _feature(found, node, where)


def merged(one: Published, other: Published) -> Published:
    """What two lines say of the same component."""
    passages = (*one.passages.get(Sampling.TOP, ()), *other.passages.get(Sampling.TOP, ()))
    return Published(
        one.node,
        _passages(passages),
        density=one.density if other.density is None else other.density,
        promoted=other.promoted or one.promoted,
        suppressed=other.suppressed or one.suppressed,
        explanations=(*one.explanations, *other.explanations),
    )


def _feature(found: Mapping[str, Any], node: str, where: str) -> Published:
    density = number_or_nan(found.get("frac_nonzero"))
    known = density == density and 0 <= density <= 1
    ends = [tokens_of(found[name], name, where) if found.get(name) else () for name in ("pos_str", "neg_str")]
    return Published(node, density=density if known else None, promoted=ends[0], suppressed=ends[1])


def _explanation(found: Mapping[str, Any], node: str, where: str) -> Explanation:
    text = a_sentence(member(found, ("description",), where), "description", where)
    kind, model = (found.get(name) or "" for name in ("typeName", "explanationModelName"))
    method = f"{METHOD}, {a_text(kind, 'typeName', where)}" if kind else METHOD
    scores = [
        an_object(each, "a score", where) for each in a_list(found.get("scores") or [], "scores", where)
    ]
    return Explanation(
        node, text, method, a_text(model, "explanationModelName", where), scores=tuple(_scores(scores, where))
    )


def _scores(found: Iterable[Mapping[str, Any]], where: str) -> Iterator[Score]:
    for each in found:
        name = a_text(member(each, ("explanationScoreTypeName",), where), "explanationScoreTypeName", where)
        value = number_or_nan(each.get("value"))
        if value == value:
            yield Score(SCORES.get(name, name), value)


def _passage(found: Mapping[str, Any], where: str) -> Passage:
    tokens = tokens_of(member(found, ("tokens",), where), "tokens", where)
    numbers = floats_of(member(found, ("values",), where), "values", where)
    return passage(tokens, numbers, False, where)


def _passages(found: Iterable[Passage]) -> dict[Sampling, tuple[Passage, ...]]:
    """The same text, published for several of its tokens, once."""
    fresh = {(each.tokens, each.activations.tobytes()): each for each in found}
    return {Sampling.TOP: tuple(sorted(fresh.values(), key=lambda each: -each.peak))} if fresh else {}
