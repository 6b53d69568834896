"""Edits that do more than push the residual stream, many at once: each is a row of a batch.

Rows begin together at the first layer that their edits touch, and end where the target reads.  Edges are made in
every row as that row's writes have become.  Where paths are in force, runs A of all rows come first, as far as their
senders and receivers need them, and each row's receivers are given what its own run A says.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, SCALES, Kind
from model.edits.edge_tables import left_by, of_whole, tails_of
from model.edits.edges import EdgeChange, EdgeKeep
from model.edits.interventions import SINGLE, Change, Sources, Where, as_hook, first_layer, site_of
from model.edits.links import reading_line
from model.edits.met import Added
from model.edits.path_edits import Meaning, PathPatch
from model.edits.paths import Batch, given, input_site, rows_of
from model.edits.wiring import Seen, Wiring
from model.effects.backward import through_line
from model.gpt2 import GPT2
from model.lines import last_line, residual_site
from model.measured.scorers import Scorer, unchanged
from model.sites import Hook, Site, compose, no_hook
from model.trace import Trace, entering, record

ROWS = 1024
"Tokens in a batch."

Row = tuple[int, tuple[Change, ...]]
"A number, and the changes that are made together."


def can_be_rows(changes: Sequence[Change]) -> bool:
    """Whether each is of one site, and none of what the target may read through: such runs begin late anyway.

    Edits of a dictionary are made together with the run's own of it.
    """
    return all(
        isinstance(change, SINGLE) and change.component.kind not in (Kind.FINAL_BIAS, *SCALES, *DICTIONARY)
        for change in changes
    )


@torch.no_grad()
def values_of_rows(
    model: GPT2,
    trace: Trace,
    scorer: Scorer,
    rows: Sequence[Row],
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
) -> Iterator[tuple[int, float]]:
    """(number, target with those changes made on top of the trace's own), batch by batch.

    Agrees with `record` and scoring to rounding; what changes nothing gives the run's own value, exactly.  `also` may
    raise to stop.
    """
    value, run = unchanged(model, trace, scorer), Again(model, trace, sources, also)
    moving: dict[int, list[Row]] = {}
    for number, changes in rows:
        if run.is_still(changes):
            yield number, value
        else:
            first = min(first_layer(change, model.config.n_layer) for change in changes)
            moving.setdefault(first, []).append((number, changes))
    size = max(1, ROWS // len(trace.tokens))
    for first, group in sorted(moving.items()):
        for at in range(0, len(group), size):
            here = group[at : at + size]
            resid, added = run.streams(first, [changes for _, changes in here], scorer.line)
            values = scorer.score(scorer.met(resid, added), trace).tolist()
            yield from ((number, new) for (number, _), new in zip(here, values, strict=True))


class Again:
    """A run that is run again from a layer, in rows that have changes of their own; `also` may raise to stop."""

    def __init__(self, model: GPT2, trace: Trace, sources: Sources, also: Hook) -> None:
        self.model, self.trace, self.sources, self.also = model, trace, sources, also
        self.paths = [change for change in trace.changes if isinstance(change, PathPatch)]
        self.edges = [change for change in trace.changes if isinstance(change, EdgeChange | EdgeKeep)]
        self.plain = [change for change in trace.changes if isinstance(change, SINGLE)]
        self.a = trace
        if self.paths:
            self.a = record(model, trace.tokens, (*self.plain, *self.edges), sources, also=also, base=trace)

    def is_still(self, changes: Sequence[Change]) -> bool:
        """Whether changes leave all that they edit as it is, and every edited edge."""
        hook, sites = as_hook(changes, self.sources), set(map(site_of, changes))
        if any(at not in self.trace.acts for at in sites) or self._cuts(changes):
            return False
        runs = (self.trace, self.a)
        return all(torch.equal(hook(*at, run[at][None])[0], run[at]) for run in runs for at in sites)

    def _cuts(self, changes: Sequence[Change]) -> bool:
        """Whether changes put something else, the same even, where tails of edges and senders have written."""
        tails = [tail for edge in self.edges for tail in tails_of(edge, self.model.config)]
        tails += [each for path in self.paths for each in path.sends]
        replacing = (change for change in changes if left_by(change) != 1)
        return any(
            tails and (each.component.kind in RESIDUAL or any(of_whole(each, tail) for tail in tails))
            for each in replacing
        )

    def streams(
        self, first: int, own: Sequence[Sequence[Change]], line: int, parts: Tensor | None = None
    ) -> tuple[Tensor, Added]:
        """What enters a line, [row, pos, d_model], and what edges add to that for readers there.

        Rows' changes are made `parts`, [row], of the way, which can be differentiated; None is all of it.
        """
        wiring = self._wiring(rows_of(self.trace), own, parts)
        if self.paths:
            wiring.held = given(self._runs_a(first, own, parts), self.paths, len(own))
        resid = self._run(self.trace, first, len(own), line, wiring)
        inside = line < last_line(self.model.config.n_layer)  # U's stream has it
        return resid, lambda reader: wiring.added(reader, resid) if inside else None

    def _wiring(self, seen: Seen, own: Sequence[Sequence[Change]], parts: Tensor | None) -> Wiring:
        return Wiring(self.model, self.edges, self.plain, self.sources, seen, own=own, parts=parts)

    def _run(self, base: Trace, first: int, rows: int, line: int, hook: Hook) -> Tensor:
        """From a layer, or from the embeddings at -1, to what enters a line."""
        hook = compose(self.also, hook)
        if first < 0:
            ids = torch.tensor([self.trace.tokens] * rows, device=self.model.wte.weight.device)
            resid = self.model.embed(ids, hook)
        else:
            resid = entering(base, first).expand(rows, -1, -1)
        begin = max(first, 0)
        resid = hook(Site.RESID_PRE, begin, resid)
        for each in range(1 + 2 * begin, line):
            resid = through_line(self.model, each, resid, hook)
        return resid

    def _runs_a(self, first: int, own: Sequence[Sequence[Change]], parts: Tensor | None) -> Batch:
        """Runs A of the rows, and what of them their paths need."""
        kept: dict[Where, Tensor] = {}
        seen, needed = _first_of(kept, rows_of(self.a)), set(_read_by(self.paths, self.model.config.n_layer))
        wiring = self._wiring(seen, own, parts)

        def keep(site: Site, layer: int, x: Tensor) -> Tensor:
            if (site, layer) in needed:
                kept[site, layer] = x
            return x

        for path in self.paths:
            wiring.watch(path.sends)
        self._run(self.a, first, len(own), last_line(self.model.config.n_layer), compose(wiring, keep))
        return Batch(self.model, self.trace.tokens, seen, wiring, self.also)


def _read_by(paths: Sequence[PathPatch], n_layer: int) -> Iterator[Where]:
    """What of runs A the paths of other runs are made of, but for their senders."""
    for path in paths:
        yield from (input_site(each) for each in path.receivers if each.kind is not Kind.UNEMBED)
        yield from (residual_site(reading_line(each, n_layer), n_layer) for each in path.receivers)
        if path.meaning is Meaning.MLPS:
            yield from ((site, layer) for layer in range(n_layer) for site in (Site.RESID_MID, Site.MLP_OUT))


def _first_of(kept: Mapping[Where, Tensor], others: Seen) -> Seen:
    """What has been computed for each row, else what all have in common."""
    return lambda at: kept[at] if at in kept else others(at)
