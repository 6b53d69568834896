"""What readers of a reference run meet where edges are edited, and what they are given at the end of paths.

No differences are kept: for each reader the writes of the run are added up again, one line after the other, with what
its edges carry in the place of the run's own, and every edit of wholes and of the stream is made again on the way.  A
path's third pass is the same sum with the senders changed, all attention as in run A, and MLPs as there or thought
again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from model.components import Component, Kind
from model.edits.edges import NODE_CHANGES, EdgeChange, EdgeKeep
from model.edits.links import reading_line
from model.edits.path_edits import Meaning, PathPatch
from model.reference.edits import edits, known, place_of
from model.reference.passes import NOTHING, Edit, Given, Handed, Pass
from model.reference.splices import Place
from model.reference.told import Carried, Tail, Told, is_within, sent, tokens, told

if TYPE_CHECKING:  # its pass asks here what readers meet
    from model.reference.run import PlainGPT2


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """The writes of a run, to be added up for one reader or another, and what readers are given in place of sums."""

    plain: "PlainGPT2"
    values: Mapping[Place, Tensor]
    "Of the run, as far as it is."
    made: Edit
    "Its edits of places."
    edges: Sequence[EdgeChange | EdgeKeep] = ()
    source: Given = NOTHING
    given: Mapping[Component, Handed] = field(default_factory=dict[Component, Handed])
    "Of readers at the end of paths."
    think: Callable[[int, Tensor], Tensor] | None = None
    "A layer's neurons in the stream that comes to it; None takes the run's own."
    scales: "Scales | None" = None
    "Norms' scales that are held; None divides by those of the stream."
    streams: dict[Component, Tensor] = field(default_factory=dict[Component, Tensor])
    "Takes what readers with edited edges meet."
    _new: dict[NODE_CHANGES, Tensor] = field(default_factory=dict[NODE_CHANGES, Tensor], init=False)

    def own(self, reader: Component) -> Tensor | None:
        """The stream that a reader alone meets, None where it has no edited edge: [pos, d_model]."""
        found = told(
            reader, self.edges, (self.plain.n_layer, self.plain.n_head), len(self.values["embed", 0])
        )
        if not found.carried:
            return None
        return self.stream(reading_line(reader, self.plain.n_layer), found)

    def met(self, reader: Component, read: Tensor) -> Tensor:
        """A reader's input, where `read` is what all others' stream gives it: [pos, width]."""
        x, own = read, self.own(reader)
        if own is not None:
            self.streams[reader] = own
            x = self.read(reader, own)
        if reader not in self.given:
            return x
        (where, value), x = self.given[reader], x.clone()
        for pos in where:
            x[pos] = value[pos]
        return x

    def read(self, reader: Component, stream: Tensor) -> Tensor:
        """A reader's input from a stream, U's being the stream: [pos, d_model] -> [pos, width]."""
        plain, layer = self.plain, reader.layer
        if reader.kind is Kind.UNEMBED:
            return stream
        norm = 2 if reader.kind is Kind.MLP else 1
        held = None if self.scales is None else self.scales.of(reader)

        def edited(scale: Tensor) -> Tensor:
            return self.made(f"ln{norm}_scale", layer, scale if held is None else held)

        seen = plain.norm(f"h.{layer}.ln_{norm}", stream, edit=edited)
        if reader.kind is Kind.MLP:
            return seen @ plain.weight(f"h.{layer}.mlp.c_fc.weight") + plain.weight(
                f"h.{layer}.mlp.c_fc.bias"
            )
        return plain.project(layer, reader.index or 0, reader.kind.name.lower(), seen)

    def stream(self, line: int, told: Told) -> Tensor:
        """What is read before a line: [pos, d_model]."""
        x = self._embedding(told)
        for at in range(1, line):
            layer = (at - 1) // 2
            if at % 2:
                x = self.made("resid_mid", layer, x + self._attention(layer, told))
                continue
            x = self.made("resid_post", layer, x + self._mlp(layer, told, x))
            if layer + 1 < self.plain.n_layer:
                x = self.made("resid_pre", layer + 1, x)
        return x

    def _embedding(self, told: Told) -> Tensor:
        def sum_of(carried: Carried) -> Tensor:
            parts = (
                self._over(self.values[name, 0], (Component(kind), None), carried)
                for name, kind in (("embed", Kind.TOKEN_EMBED), ("positions", Kind.POS_EMBED))
            )
            return self.made("resid_pre", 0, sum(parts, start=self.values["embed", 0] * 0))

        return self._whole(Component(Kind.EMBED), self.values["resid_pre", 0], sum_of, told)

    def _attention(self, layer: int, told: Told) -> Tensor:
        def sum_of(carried: Carried) -> Tensor:
            z = self._z(layer, Told(carried, told.spared if carried is told.carried else {}))
            bias = Component(Kind.ATTN_BIAS, layer)
            out = self._over(self.values["attn_bias", layer], (bias, None), carried)
            for head in range(self.plain.n_head):
                out = out + z[head] @ self.plain.output(layer, head)
            return self.made("attn_out", layer, out)

        return self._whole(Component(Kind.ATTN, layer), self.values["attn_out", layer], sum_of, told)

    def _z(self, layer: int, told: Told) -> Tensor:
        """Heads' outputs, whole heads taking the place of their pairs: [head, pos, d_head]."""
        z, new = self.values["z", layer], self.values["z", layer].clone()
        for head in range(self.plain.n_head):
            part = Component(Kind.HEAD, layer, head)
            for carried in (told.carried, told.spared):
                pattern = self.values["pattern", layer].clone()
                pairs = [tail for tail in carried if tail[0] == part and tail[1] is not None]
                for tail in pairs:
                    for pos, change in carried[tail].items():
                        pattern[head, pos, tail[1]] = self._changed(change)[head, pos, tail[1]]
                mixed = self.made("z", layer, pattern @ self.values["v", layer])[head] if pairs else z[head]
                if carried is told.carried:
                    new[head] = mixed
                    spared = z[head]
                else:
                    spared = mixed
            for pos, change in told.carried.get((part, None), {}).items():
                new[head, pos] = self._changed(change)[head, pos] + (z[head, pos] - spared[pos])
        return new

    def _mlp(self, layer: int, told: Told, x: Tensor) -> Tensor:
        weight = self.plain.weight(f"h.{layer}.mlp.c_proj.weight")
        thought = self.values["post", layer] if self.think is None else self.think(layer, x)

        def sum_of(carried: Carried) -> Tensor:
            post = thought.clone()
            for (part, _), changes in carried.items():
                if part.kind is Kind.NEURON and part.layer == layer:
                    for pos, change in changes.items():
                        post[pos, part.index] = self._changed(change)[pos, part.index]
            bias = Component(Kind.MLP_BIAS, layer)
            out = post @ weight + self._over(self.values["mlp_bias", layer], (bias, None), carried)
            return self.made("mlp_out", layer, out)

        own = self.values["mlp_out", layer] if self.think is None else sum_of({})
        return self._whole(Component(Kind.MLP, layer), own, sum_of, told)

    def _whole(self, part: Component, own: Tensor, sum_of: Callable[[Carried], Tensor], told: Told) -> Tensor:
        """A write as the sum of its parts; where it is changed whole, with the parts that are spared as they are."""
        new = sum_of(told.carried) if self._within(part, told.carried) else own
        whole = told.carried.get((part, None), {})
        if not whole:
            return new
        spared = own - sum_of(told.spared) if self._within(part, told.spared) else own * 0
        new = new.clone()
        for pos, change in whole.items():
            new[pos] = self._changed(change)[pos] + spared[pos]
        return new

    def _within(self, whole: Component, carried: Carried) -> bool:
        return any(is_within(part, whole) for part, _ in carried)

    def _over(self, own: Tensor, tail: Tail, carried: Carried) -> Tensor:
        """A part's own write with what is carried in its place at some tokens: [pos, ...]."""
        new = own.clone()
        for pos, change in carried.get(tail, {}).items():
            new[pos] = self._changed(change)[pos]
        return new

    def _changed(self, change: NODE_CHANGES) -> Tensor:
        """The tensor of a change's place, as it would be with the change made on top of the run's own."""
        if change not in self._new:
            place = place_of(known(change))
            self._new[change] = edits([change], self.source)(*place, self.values[place])
        return self._new[change]


@dataclass(eq=False)
class Scales:
    """Norms' scales of a run: of the stream that most readers have in common, and of a reader's own."""

    reads: Reads
    "Of that run."
    _own: dict[Component, Tensor] = field(default_factory=dict[Component, Tensor])

    def of(self, reader: Component) -> Tensor:
        """What a reader with edited edges divides by: [pos, 1]."""
        if reader not in self._own:
            stream = self.reads.own(reader)
            assert stream is not None, "such readers alone are asked for"
            self._own[reader] = self.reads.plain.scale(stream)
        return self._own[reader]

    def shared(self, name: str, layer: int) -> Tensor | None:
        """The run's own scale at a place; None for places that are none of a sub-layer's norm: [pos, 1]."""
        return self.reads.values[name, layer] if name in ("ln1_scale", "ln2_scale") else None


def given_by(run: Pass, reads: Reads, paths: Sequence[PathPatch]) -> dict[Component, Handed]:
    """What receivers read at the end of paths; `run` and `reads` are of run A, which has none."""
    length, found = len(run.tokens), dict[Component, Handed]()
    for receiver in dict.fromkeys(each for path in paths for each in path.receivers):
        line = reading_line(receiver, reads.plain.n_layer)
        bare, own = reads.stream(line, Told({})), reads.own(receiver)
        stream, where = (bare if own is None else own).clone(), set[int]()
        for path in (path for path in paths if receiver in path.receivers):
            here = tokens(path.tokens, length)
            moved = third(run, reads, path).stream(line, sent(path, length)) - bare
            stream[here.start : here.stop] += moved[here.start : here.stop]
            where.update(here)
        found[receiver] = frozenset(where), reads.read(receiver, stream)
    return found


def third(run: Pass, reads: Reads, path: PathPatch) -> Reads:
    """The sums of a path's third pass: attention is run A's, and so are MLPs but where the path goes through them."""
    if path.meaning is Meaning.DIRECT:
        return reads

    def think(layer: int, x: Tensor) -> Tensor:
        mlp, before = Component(Kind.MLP, layer), run.stream[1 + 2 * layer]
        own = reads.own(mlp)
        entering = x if own is None else own + (x - before)
        pre = reads.made("pre", layer, reads.read(mlp, entering))
        return reads.made("post", layer, reads.plain.bent(pre))

    return replace(reads, think=think)
