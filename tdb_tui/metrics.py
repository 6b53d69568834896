"""Metrics as a session has them: made from tokens, written as a command, checked against a prompt and a model."""

from dataclasses import replace

from model.components import Node
from model.gpt2 import Config
from model.metrics import Metric, Quantity
from model.probes import Activation, Direction, Probe, refuse_probe
from tdb_tui.errors import CommandError


def make_metric(targets: tuple[int, ...], distractors: tuple[int, ...], pos: int) -> Metric:
    """Logit difference where there is something to compare with, else the target's logit."""
    return Metric(Quantity.LOGIT_DIFF if distractors else Quantity.LOGIT, targets, distractors, pos)


def with_tokens(metric: Metric, targets: tuple[int, ...], distractors: tuple[int, ...]) -> Metric:
    """The metric of other tokens; one that was asked for stays what it is."""
    if metric.quantity is make_metric(metric.targets, metric.distractors, metric.pos).quantity:
        return make_metric(targets, distractors, metric.pos)
    return replace(metric, targets=targets, distractors=distractors)


def metric_words(metric: Metric, end: int) -> str:
    """What follows `set metric` to ask for it; `end` is the prompt's last token, which goes without saying."""
    name, probe = metric.quantity.value, metric.probe
    if isinstance(probe, Activation):
        return f"{name} {Node(probe.component, metric.pos, probe.key)}"
    at = [] if metric.pos == end else [f"@{metric.pos}"]
    return " ".join([name, *([probe.text] if isinstance(probe, Direction) else []), *at])


def is_usual(metric: Metric, end: int) -> bool:
    """Whether the tokens alone, at the end of the prompt, would ask for it."""
    return metric == make_metric(metric.targets, metric.distractors, end)


def place_of(metric: Metric) -> tuple[int, Probe | None]:
    """Where it reads: what has been traced for it there cannot be traced for it elsewhere."""
    return metric.pos, metric.probe


def in_other_prompt(metric: Metric, end: int, other_end: int) -> Metric:
    """The same asked of a prompt that ends at another token: as far from its end, or at its first token."""

    def moved(pos: int) -> int:
        return max(0, pos + other_end - end)

    probe = metric.probe
    if isinstance(probe, Activation) and probe.key is not None:
        probe = replace(probe, key=moved(probe.key))
    return replace(metric, pos=moved(metric.pos), probe=probe)


def refuse_metric(metric: Metric, end: int, config: Config) -> None:
    """Raises CommandError for a metric at a token beyond the prompt, or of what the model does not have."""
    if metric.pos > end:
        message = f"the metric reads token {metric.pos}, the prompt ends at {end}: set metric first"
        raise CommandError(message, code="bad-lengths")
    if metric.probe is None:
        return
    try:
        refuse_probe(metric.probe, metric.pos, config)
    except ValueError as error:
        raise CommandError(f"{error}: set metric first", code="bad-setting") from None


def caveats(metric: Metric, edited: bool) -> tuple[str, ...]:
    """What must be said beside direct and total effects on it."""
    if metric.linear:
        return ()
    name = metric.quantity.value
    if metric.quantity is Quantity.KL and not edited:
        flat = "kl is 0 and flat without edits, so that direct and total effects are 0"
        return (f"{flat}: measured is minus the divergence that an ablation makes",)
    read = "the logits" if metric.probe is None else "what it reads"
    return (f"{name} is not linear in {read}: direct effects add up to its linear part",)
