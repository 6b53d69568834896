"""Where OpenAI has put records and explanations, what they are of, and what is wrong with them.

The paths are those of Transformer Debugger's registry; where its documentation spells one otherwise, that comes second.
"""

from dataclasses import dataclass

from explanations.published.records import PublishedError
from explanations.records import Origin
from model.components import Component, Kind
from model.gpt2 import Config

OPENAI = "https://openaipublic.blob.core.windows.net"
NEURONPEDIA = "https://www.neuronpedia.org"
SHAPES = {
    (12, 12, 768): "gpt2-small",
    (24, 16, 1024): "gpt2-medium",
    (36, 20, 1280): "gpt2-large",
    (48, 25, 1600): "gpt2-xl",
}
"(layers, heads, width) -> the name that publishers use."
NEURONS = {"gpt2-small": "gpt2_small_data", "gpt2-xl": "data"}
LATENTS = {"m": "resid_delta_mlp", "p": "mlp_post_act", "a": "resid_delta_attn"}
RELEASES = ("v4", "v1")
METHOD, LATER = "OpenAI 2023", "OpenAI 2024"

GELU = (
    "the activations were computed with a fast GELU, x sigmoid(1.702 x), and not with GPT-2's: for GPT-2 small they "
    "are off by 0.009 at the median and by 0.17 at one token in a thousand"
)
PERHAPS = "it is not known whether these share the fault of the neurons' records, a GELU that is not GPT-2's"
SCORED = (
    "scored on activations with a GELU that is not GPT-2's; GPT-2 small's and XL's were scored in different ways and "
    "cannot be compared with each other or with scores from here"
)
CAVEATS = {METHOD: SCORED}
"An explanation's method -> what to say wherever its score is shown."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a component's files are below the root; the first of several spellings that is there counts."""

    origin: Origin
    records: tuple[str, ...]
    explanations: tuple[str, ...] = ()
    "Empty where none were published."
    pairs: bool = False
    "Whether activations are those of pairs of tokens."


def model_name(config: Config) -> str:
    """What publishers call a model of this shape.  Raises PublishedError for one that nobody published about."""
    found = SHAPES.get((config.n_layer, config.n_head, config.d_model))
    if found is None:
        shape = f"{config.n_layer} layers of {config.n_head} heads and {config.d_model} dimensions"
        raise PublishedError(
            f"records were published of {', '.join(SHAPES.values())}: this model has {shape}"
        )
    return found


def place_of(component: Component, model: str, release: str = RELEASES[0], pairs: bool = False) -> Place:
    """Where OpenAI has a component.  `release` and `pairs` are about latents.  Raises PublishedError."""
    at = f"{component.layer}/{component.index}"
    if component.kind is Kind.NEURON and model in NEURONS:
        folder = f"neuron-explainer/{NEURONS[model]}"
        records, said = f"{folder}/collated-activations/{at}.json", f"{folder}/explanations/{at}.jsonl"
        return Place(Origin(METHOD, f"neurons of {model} over WebText", GELU), (records,), (said,))
    if model == "gpt2-small" and component.kind is Kind.HEAD and component.index is not None:
        folder = "neuron-explainer/gpt2_small/attn_write_norm"
        spelled = ("collated-activations-by-token-pair", "collated_activations_by_token_pair")
        about = Origin(LATER, f"heads of {model}, A_qk |v_k W_O|", PERHAPS)
        return Place(about, tuple(f"{folder}/{each}/{at}.json" for each in spelled), pairs=True)
    if model == "gpt2-small" and component.kind is Kind.LATENT and component.site in LATENTS:
        return _latent(component, release, pairs)
    raise PublishedError(
        f"OpenAI published neurons of gpt2-small and gpt2-xl, and of gpt2-small heads and latents (Fm, Fp, Fa): "
        f"not {component} of {model}"
    )


def _latent(component: Component, release: str, pairs: bool) -> Place:
    """The newest release has no suffix of its own in one spelling, none at all in the other."""
    kind = LATENTS[component.site]
    if (component.site, release) == ("a", "v1"):
        raise PublishedError("OpenAI published latents of attention in release v4 alone")
    if pairs and component.site != "a":
        raise PublishedError("OpenAI published pairs of tokens for latents of attention (Fa) alone")
    folder = "collated-activations-by-token-pair" if pairs else "collated-activations"
    at = f"{folder}/{component.layer}/{component.index}.json"
    spelled = [
        f"gpt2_small/autoencoder_latent/{kind}_{release}",
        f"gpt2-small/autoencoder_latent/{kind}_{release}",
    ]
    if release == "v1":
        spelled.append(f"gpt2-small/autoencoder_latent/{kind}")
    name = f"{LATER}, {release}{' by pairs' if pairs else ''}"
    about = Origin(name, f"latents of gpt2-small, {kind} {release}", PERHAPS)
    return Place(about, tuple(f"neuron-explainer/{each}/{at}" for each in spelled), pairs=pairs)


def neuronpedia(model: str, source: str) -> Origin:
    """A set of Neuronpedia's."""
    return Origin(f"Neuronpedia {source.partition('-')[2] or 'neurons'}", f"{model}, {source}")
