"""What `tdb-tui sae train` is told, made into a plan: which dictionaries, by which rule, for how long."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.gpt2 import Config
from model.sites import Site
from sae.places import PLACES, READ
from sae.reading import place_of
from sae.training import rules
from sae.training.plan import Plan, Target
from sae.training.schedule import Schedule

RULES = ("topk", "batchtopk", "l1", "jumprelu")
SPARSITY = {"l1": 0.1, "jumprelu": 0.02}
"""The weight of a penalty where none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The numbers of the command line; None stands for what follows from the others."""

    rule: str = "topk"
    k: int = 32
    sparsity: float | None = None
    latents: int | None = None
    steps: int = 5000
    batch: int = 4096
    shards: int = 4
    rate: float = 3e-4
    warmup: int = 200
    aux_k: int | None = None
    dead_after: int | None = None
    resample: int | None = None
    seed: int = 0
    half: bool = False


def targets_of(places: Sequence[str], transcode: bool, config: Config) -> list[Target]:
    """`mlp_out.3`, `attn_out.*`, `ln2_normalized.3-mlp_out.3` -> what is trained.  Raises ValueError."""
    found: list[Target] = []
    for text in places:
        layers = range(config.n_layer) if text.endswith(".*") else [None]
        for layer in layers:
            found.append(_target(text if layer is None else f"{text[:-1]}{layer}", transcode, config))
    names = [target.name for target in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is asked for twice: one dictionary a place")
    return found


def _target(text: str, transcode: bool, config: Config) -> Target:
    reads, joined, writes = text.partition("-")
    output = place_of(writes or reads, PLACES)
    target = Target(place_of(reads, READ) if joined else output, output)
    if transcode and not joined:
        if output[0] is not Site.MLP_OUT:
            raise ValueError(f"--transcode reads ln2_normalized and puts out mlp_out: {text} is neither")
        target = Target((Site.LN2_NORMALIZED, output[1]), output)
    for _, layer in (target.reads, target.writes):
        if layer >= config.n_layer:
            raise ValueError(f"{text}: this model has layers 0 to {config.n_layer - 1}")
    return target


def plan_of(settings: Settings, width: int) -> Plan:
    """The plan for dictionaries of places that are `width` wide.  Raises ValueError."""
    revived = settings.rule in ("topk", "batchtopk")
    return Plan(
        rule=_rule(settings),
        schedule=Schedule(settings.steps, settings.rate, settings.warmup),
        n_latent=settings.latents or 8 * width,
        batch=settings.batch,
        shards=settings.shards,
        seed=settings.seed,
        aux_k=_or(settings.aux_k, max(1, width // 2) if revived else 0),
        dead_after=settings.dead_after or max(100 * settings.batch, 200_000),
        resample_every=_or(settings.resample, 0 if revived else max(1, settings.steps // 8)),
        half=settings.half,
    )


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _rule(settings: Settings) -> rules.Rule:
    weight = settings.sparsity if settings.sparsity is not None else SPARSITY.get(settings.rule, 0.0)
    match settings.rule:
        case "topk":
            return rules.TopK(settings.k)
        case "batchtopk":
            return rules.BatchTopK(settings.k)
        case "l1":
            return rules.L1(weight)
        case "jumprelu":
            return rules.JumpRelu(weight)
        case other:
            raise ValueError(f"no rule {other!r}: {', '.join(RULES)}")
