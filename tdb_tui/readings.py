"""A run read through a metric.  Each number is computed when it is first asked for, on the engine thread."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from model.components import Component
from model.edits.interventions import Sources
from model.effects.attribution import Gradients, Treatment
from model.frames import frame_target
from model.gpt2 import GPT2
from model.lens import Lens, lens, read
from model.measured.scorers import Scorer, metric_scorer, target_scorer
from model.metrics import Metric
from model.sites import Hook, Site
from model.targets import metric_target
from model.trace import Trace, logits_at, metric_value
from tdb_tui.asked import Asked
from tdb_tui.effects import Effect, Run
from tdb_tui.measurements import Measured
from tdb_tui.state import Frame


class Reading:
    """What one trace says about one metric.  Holds no state but what it has already computed."""

    def __init__(
        self,
        model: GPT2,
        trace: Trace,
        metric: Metric,
        sources: Sources,
        also: Hook,
        treatment: Treatment = Treatment.TARGET,
        known: Callable[[Effect, tuple[Frame, ...]], Measured] = lambda effect, frames: Measured(),
    ) -> None:
        """`known` gives what has been measured of a question before, to be added to."""
        self.model, self.trace, self.metric, self.also = model, trace, metric, also
        self.sources = sources
        self._run, self._treatment, self._known = Run(model, trace, sources, also), treatment, known
        self._asked: dict[tuple[Frame, ...], Asked] = {}
        self._lenses: dict[int, Lens] = {}

    @cached_property
    def value(self) -> float:
        """The metric, in its unit."""
        return metric_value(self.model, self.trace, self.metric)

    def asked(self, frames: tuple[Frame, ...] = ()) -> Asked:
        """The metric's rows, or those of the last of `frames`, each traced for the one before it.

        Raises ValueError, one sentence, where a frame cannot be traced.
        """
        if frames not in self._asked:
            self._asked[frames] = self._ask(frames)
        return self._asked[frames]

    def _ask(self, frames: tuple[Frame, ...]) -> Asked:
        known = {effect: self._known(effect, frames) for effect in Effect}
        if not frames:
            target, scorer = (
                metric_target(self.model, self.trace, self.metric),
                metric_scorer(self.model, self.metric),
            )
            movable = len(scorer.positions) == 1 and self.metric.reference is None
            # not a method of this reading: what it holds would hold it, long after it is forgotten
            moved = partial(_metric_at, self.model, self.metric) if movable else None
            return Asked(self._run, target, scorer, self._treatment, moved, _known=known)
        last = frames[-1]
        target = frame_target(self.model, self.trace, last.node, last.via, self.asked(frames[:-1]).target)
        scorer = target_scorer(self.model, target)
        return Asked(self._run, target, scorer, self._treatment, moved=None, _known=known)

    @property
    def gradients(self) -> Gradients:
        """Of the metric."""
        return self.asked().gradients

    def shed(self) -> None:
        """Forget what can be made again from the run."""
        self._asked.clear()
        self._lenses.clear()

    @property
    def nbytes(self) -> int:
        """What has been computed so far, the trace apart."""
        return sum(asked.nbytes for asked in self._asked.values())

    @property
    def length(self) -> int:
        return len(self.trace.tokens)

    def lens(self, pos: int) -> Lens:
        """Its values are `lens_values`; what it says in tokens is read at `pos` in any case."""
        if pos not in self._lenses:
            found = lens(self.model, self.trace, self.metric, pos)
            self._lenses[pos] = replace(found, value=self.lens_values(pos))
        return self._lenses[pos]

    def lens_values(self, pos: int) -> NDArray[np.float64]:
        """The metric through the lens after each line: [line].

        Read at `pos`, but for a divergence, which is from the baseline at its own token, and a head's attention.
        """
        return self.asked().through_lens(pos)

    def deltas(self, pos: int) -> NDArray[np.float64]:
        """What each line adds to the lens, the first to nothing: [line]."""
        return np.diff(self.lens_values(pos), prepend=0.0)

    def logits(self, pos: int) -> NDArray[np.float64]:
        """Logits after token `pos`: [vocab]."""
        return logits_at(self.model, self.trace, pos).double().cpu().numpy()

    def pattern(self, head: Component) -> NDArray[np.float64]:
        """A head's attention: [query, key]."""
        return self.trace[Site.PATTERN, head.layer][head.index].double().cpu().numpy()

    def lens_logits(self, resid: torch.Tensor, pos: int) -> NDArray[np.float64]:
        """Logits of a residual sent straight to the final norm: [d_model] -> [vocab]."""
        return self.model.unembed(read(self.model, self.trace, resid, pos)).double().cpu().numpy()


def _metric_at(model: GPT2, metric: Metric, pos: int) -> Scorer:
    return metric_scorer(model, replace(metric, pos=pos))
