"""Who is asked about a component, and how what they have is read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from explanations.published import neuronpedia, openai
from explanations.published.catalogue import METHOD, NEURONPEDIA, OPENAI, Place, place_of
from explanations.published.catalogue import neuronpedia as origin_of
from explanations.published.records import Published, PublishedError
from explanations.records import Origin
from model.components import Component
from tdb_tui.publications.web import Web

PUBLISHERS = ("openai", "neuronpedia")
ADDRESSES = {"openai": ("TDB_OPENAI_URL", OPENAI), "neuronpedia": ("TDB_NEURONPEDIA_URL", NEURONPEDIA)}
"The environment variable that names a mirror, and the publisher itself."
KEY = "NEURONPEDIA_API_KEY"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked of a publisher."""

    publisher: str
    model: str
    "What publishers call the model."
    records: bool = True
    explanations: bool = True
    release: str = "v4"
    pairs: bool = False
    source: str | None = None
    "A set of Neuronpedia's, `res-jb`."


def web_of(publisher: str, url: str | None = None) -> Web:
    """The publisher's own address, unless `url` or the environment names a mirror: a server or a folder."""
    variable, own = ADDRESSES[publisher]
    key = os.environ.get(KEY) if publisher == "neuronpedia" else None
    return Web(url or os.environ.get(variable) or own, key)


def origin(choice: Choice, component: Component) -> Origin:
    """Raises PublishedError where the publisher has nothing of its kind."""
    if choice.publisher == "openai":
        return _place(choice, component).origin
    return origin_of(choice.model, neuronpedia.source_of(component, choice.source))


async def published(web: Web, choice: Choice, component: Component) -> Published | None:
    """None where the publisher has nothing about it.  Raises PublishedError."""
    if choice.publisher == "neuronpedia":
        return await _feature(web, choice, component)
    place = _place(choice, component)
    records = await web.first(place.records) if choice.records else None
    said = await web.first(place.explanations) if choice.explanations else None
    if records is None and said is None:
        return None
    found = (
        Published(str(component))
        if records is None
        else openai.record(records[0], component, place.pairs, records[1])
    )
    if said is None:
        return found
    return replace(found, explanations=openai.explanations(said[0], component, METHOD, said[1]))


def _place(choice: Choice, component: Component) -> Place:
    return place_of(component, choice.model, choice.release, choice.pairs)


async def _feature(web: Web, choice: Choice, component: Component) -> Published | None:
    source = neuronpedia.source_of(component, choice.source)
    found = await web.first([f"api/feature/{choice.model}/{source}/{component.index}"])
    if found is None or found[0].strip() == b"null":
        return None
    read = neuronpedia.feature(found[0], component, source, found[1])
    kept = read if choice.records else Published(read.node, explanations=read.explanations)
    return kept if choice.explanations else replace(kept, explanations=())


def likely(component: Component) -> str:
    """Who has most about a component of its kind."""
    return "neuronpedia" if component.site in ("r", "i", "o", "z") else "openai"


def checked(name: str, among: Sequence[str] = PUBLISHERS) -> str:
    """Raises PublishedError for a publisher that is not known."""
    if name not in among:
        raise PublishedError(f"unknown publisher {name!r}: {' or '.join(among)}")
    return name
