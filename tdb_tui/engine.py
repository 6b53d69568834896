"""The only owner of a loaded model: runs inputs, and says what else it can be asked."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from explanations.demo import STORE
from model import sampling
from model.components import Component
from model.dictionaries import NoDictionary
from model.edits.interventions import Change, ChangeError, Sources
from model.gpt2 import GPT2, Config
from model.metrics import Metric, Quantity
from model.sampling import Step
from model.sites import Site, Where
from model.tokenizer import Tokenizer, load_tokenizer
from model.trace import Trace, metric_value, record, reference, shared_layers
from model.weights import load_model, model_hash
from tdb_tui.effects import Effect
from tdb_tui.errors import CommandError, ComputeFailed, Interrupted
from tdb_tui.machine.devices import ComputeError, compute_errors, pick_device, pick_dtype
from tdb_tui.machine.memory import give_back_large_tensors
from tdb_tui.machine.models import DEMO
from tdb_tui.machine.yours import your_stores
from tdb_tui.measurements import Measured
from tdb_tui.readings import Reading
from tdb_tui.runs import CACHE_BYTES, Runs
from tdb_tui.saes import Saes
from tdb_tui.sets.references import KeptMeans, LazyRun, Matched, MeanActs, matched
from tdb_tui.state import Frame, Inputs, Means, Prompt
from tdb_tui.stores import Stores
from tdb_tui.sweeps.values import KeptSweeps
from tdb_tui.tables.acts import Floats, activations

if TYPE_CHECKING:
    from explanations.collation.collecting import Collector
    from explanations.collation.groups import Group
    from explanations.collation.plans import Plan
    from model.corpus import Corpus
    from sae.activations import Source
    from sae.autoencoder import Autoencoder
    from sae.evaluation import Report

NORMS = (Site.LN1_SCALE, Site.LN2_SCALE, Site.LN_FINAL_SCALE, Site.LN_FINAL)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    name: str
    directory: Path
    config: Config
    device: str
    dtype: str
    why: str = ""
    "Why this model, where the user named none."


class Engine:
    def __init__(
        self, model: GPT2, tokenizer: Tokenizer, info: ModelInfo, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._model, self.tokenizer, self.info = model, tokenizer, info
        self.runs = Runs(cache_bytes)
        self.sweeps = KeptSweeps()
        self.saes = Saes(model, info.config)
        bundled = [STORE] if info.directory == DEMO and STORE.exists() else []
        self.stores = Stores(self.weights_hash, bundled, your_stores(info.directory.name))
        self._means = KeptMeans()
        self.interrupt = threading.Event()
        self.progress = ""
        "How far long work has come, for whoever shows it: `37/144`."
        self.sites_run = 0
        "How many sites all passes have gone through: what a test can count instead of seconds."

    def stop_here(self, site: Site, layer: int, x: Tensor) -> Tensor:
        """The hook that comes first in every pass: raises Interrupted once the user has asked."""
        self.sites_run += 1
        if self.interrupt.is_set():
            raise Interrupted
        return x

    def reading(self, inputs: Inputs) -> Reading:
        """The run of these inputs, read through their metric.  Raises ComputeFailed and Interrupted."""
        run = self._key(inputs.prompt, inputs.changes, inputs)
        key = self._reading_key(inputs)

        def known(effect: Effect, frames: tuple[Frame, ...]) -> Measured:
            other = inputs.prompt_b if effect is Effect.PATCHED else None
            return self.runs.measurements.of((run, inputs.metric, frames, effect, other))

        if key not in self.runs.readings:
            metric, sources = self._metric(inputs), self._sources(inputs)
            trace = self._trace(inputs.prompt, inputs.changes, inputs)  # last, so that it is kept
            reading = Reading(self._model, trace, metric, sources, self.stop_here, inputs.treatment, known)
            self._check_finite(trace, inputs)
            self.runs.readings[key] = reading
        return self.runs.used(run, key)

    def value(self, inputs: Inputs) -> float:
        """The metric of these inputs, of which no more is kept.  Raises ComputeFailed and Interrupted."""
        known = self.known_value(inputs)
        if known is not None:
            return known
        metric = self._metric(inputs)
        trace = self._trace(inputs.prompt, inputs.changes, inputs)
        self._check_finite(trace, inputs)
        return self.runs.keep_value(self._value_key(inputs), metric_value(self._model, trace, metric))

    def known_value(self, inputs: Inputs) -> float | None:
        """The same where it has been computed before, and nothing is run for it."""
        reading = self.runs.readings.get(self._reading_key(inputs))
        return reading.value if reading is not None else self.runs.values.get(self._value_key(inputs))

    def _reading_key(self, inputs: Inputs) -> tuple[object, ...]:
        run = self._key(inputs.prompt, inputs.changes, inputs)
        return run, inputs.metric, inputs.treatment, inputs.prompt_b, inputs.means, inputs.examples

    def _value_key(self, inputs: Inputs) -> tuple[object, ...]:
        return self._key(inputs.prompt, inputs.changes, inputs), inputs.metric

    def run_of(self, prompt: Prompt, inputs: Inputs) -> Trace:
        """Another prompt's run without edits, with the SAEs of `inputs`.  Raises ComputeFailed and Interrupted."""
        return self._trace(prompt, (), inputs)

    def acts_on(self, prompt: Prompt, inputs: Inputs, part: Component) -> Floats | None:
        """What a component does at each token of another prompt, as `tables.acts` has it."""
        return activations(self._model, self.run_of(prompt, inputs), part)

    def generate(
        self, inputs: Inputs, count: int, temperature: float = 0.0, top_k: int | None = None, seed: int = 0
    ) -> Iterator[Step]:
        """Tokens after the prompt, under the edits in force."""
        sources = self._sources(inputs) if inputs.changes else Sources()
        return sampling.generate(
            self._model,
            inputs.prompt.tokens,
            count,
            inputs.changes,
            sources,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            also=self.stop_here,
        )

    def collector(self, plan: "Plan", groups: "Callable[[GPT2], Sequence[Group]]") -> "Collector":
        """What runs a corpus through this model.  Raises CollationError where the plan does not fit it."""
        from explanations.collation.collecting import Collector

        return Collector(self._model, groups(self._model), plan, self.tokenizer.eos)

    def activations(self, corpus: "Corpus", places: Sequence[Where], **how: int) -> "Source":
        """What dictionaries are trained on: this model's activations on a corpus, `how` as `Source` takes it."""
        from sae.activations import Source

        return Source(self._model, corpus, tuple(places), **how)

    def judge(
        self, dictionaries: "Sequence[Autoencoder]", batches: Callable[[], Iterator[Tensor]], skip: int = 0
    ) -> "Iterator[tuple[Report, ...]]":
        """How good dictionaries of this model are on batches of tokens; means are over the same, read a first time."""
        from sae.evaluation import evaluate, mean_activations

        means = mean_activations(self._model, {each.writes for each in dictionaries}, batches(), skip)
        return evaluate(self._model, dictionaries, batches(), means, skip)

    def weights_hash(self) -> str:
        return model_hash(self.info.directory)

    def move(self, device: str) -> None:
        """Compute on another device from here on, nothing kept.  Raises DeviceError, and ComputeError for no room.

        The model is then where it was.
        """
        place, before = pick_device(device), self._model.wte.weight.device
        pick_dtype(self.info.dtype, place)
        self.forget()
        try:
            with compute_errors():
                self._model.to(place)
        except ComputeError:
            self._model.to(before)
            raise
        self.saes = Saes(self._model, self.info.config)
        self.info = replace(self.info, device=str(place))

    def forget(self) -> None:
        """Drop every kept run, so that the next one is computed from nothing."""
        self.runs.forget()
        self._means.clear()
        self.sweeps.clear()

    def _metric(self, inputs: Inputs) -> Metric:
        """The metric; a divergence together with what it is from, the run without edits."""
        metric = inputs.metric
        if metric.quantity is not Quantity.KL or metric.reference is not None:
            return metric
        return metric.against(reference(self._model, self._trace(inputs.prompt, (), inputs), metric.pos))

    def _trace(self, prompt: Prompt, changes: Sequence[Change], inputs: Inputs) -> Trace:
        key = self._key(prompt, changes, inputs)
        if key not in self.runs.traces:
            loaded = self.saes.loaded(inputs.saes)
            sources = self._sources(inputs) if changes else Sources(dictionaries=loaded)
            nearest = self._nearest(key, prompt, changes)
            self.runs.make_room(self.runs.size_of(len(prompt.tokens)))
            self.runs.traces[key] = self._recorded(prompt, changes, sources, nearest)
        self.runs.traces.move_to_end(key)
        self.runs.make_room()
        return self.runs.traces[key]

    def _recorded(
        self, prompt: Prompt, changes: Sequence[Change], sources: Sources, base: Trace | None
    ) -> Trace:
        """Raises CommandError for a change that cannot be made here."""
        try:
            return record(self._model, prompt.tokens, changes, sources, also=self.stop_here, base=base)
        except NoDictionary as error:
            raise CommandError(f"{error}: load it with 'set sae PATH'", code="no-sae") from None
        except ChangeError as error:
            raise CommandError(str(error), code="bad-edit") from None

    def _key(self, prompt: Prompt, changes: Sequence[Change], inputs: Inputs) -> tuple[object, ...]:
        """A run is its tokens, its edits and its SAEs; what edits take from elsewhere counts where there are edits."""
        elsewhere = (
            (inputs.prompt, inputs.prompt_b, inputs.means, inputs.examples, inputs.saes) if changes else None
        )
        return prompt.tokens, tuple(changes), elsewhere, inputs.saes

    def _nearest(self, key: tuple[object, ...], prompt: Prompt, changes: Sequence[Change]) -> Trace | None:
        """The kept run that shares the most layers with the one to come; edits must draw on the same sources."""
        layers = self._model.config.n_layer
        kept = [
            trace
            for (_, _, elsewhere, _), trace in self.runs.traces.items()  # pyright: ignore[reportGeneralTypeIssues]
            if trace.tokens == prompt.tokens and elsewhere in (None, key[2])
        ]
        return max(kept, key=lambda trace: shared_layers(trace, prompt.tokens, changes, layers), default=None)

    def _sources(self, inputs: Inputs) -> Sources:
        def run(prompt: Prompt) -> LazyRun:
            return LazyRun(partial(self._trace, prompt, (), inputs))

        return Sources(
            means=None if inputs.means is None else self._mean_acts(inputs.means, inputs.prompt),
            other=None if inputs.prompt_b is None else self._trace(inputs.prompt_b, (), inputs),
            base=run(inputs.prompt),
            examples={each.example: run(each) for each in inputs.examples if each.example is not None},
            references=self.references(inputs),
            dictionaries=self.saes.loaded(inputs.saes),
        )

    def references(self, inputs: Inputs) -> tuple[Matched, ...]:
        """What resampling draws from, in the prompt as it is."""
        if inputs.means is None:
            return ()
        return matched(inputs.means, inputs.prompt, lambda prompt: self._trace(prompt, (), inputs))

    def _mean_acts(self, means: Means, prompt: Prompt) -> MeanActs:
        """The means are kept for a while; the runs that they are over are not."""

        def run(other: Prompt) -> Trace:
            return self._recorded(other, (), Sources(), None)

        return self._means.of(means, prompt, run, self.tokenizer.eos)

    def _check_finite(self, trace: Trace, inputs: Inputs) -> None:
        """Raises ComputeFailed for an overflow.

        Whatever overflows inside a layer reaches the next norm.  An infinite scale is refused as well: it divides
        everything to zero, so that the logits after it are finite and say nothing.
        """
        last = next((edit for edit in reversed(inputs.edits) if edit.enabled), None)
        if last and any(bool((trace[at] <= 0).any()) for at in trace.acts if at[0] in NORMS[:3]):
            message = f"a layer norm would divide by 0 or less after {last.text}"
            raise ComputeFailed(message, code="not-finite")
        seen = (trace[at] for at in trace.acts if at[0] in NORMS)
        if not all(bool(torch.isfinite(x).all()) for x in seen):
            after = f" after {last.text}" if last else f": {self.info.dtype} may be too narrow"
            raise ComputeFailed(f"logits are not finite{after}", code="not-finite")


def load_engine(directory: Path, name: str, why: str, device: str = "auto", dtype: str = "float32") -> Engine:
    """Load a model directory onto a device.  Raises CheckpointError, TokenizerError, DeviceError."""
    give_back_large_tensors()
    place, kind = pick_device(device), pick_dtype(dtype)
    with compute_errors():
        model = load_model(directory, kind, place)
    tokenizer = load_tokenizer(directory)
    return Engine(model, tokenizer, ModelInfo(name, directory, model.config, str(place), dtype, why))
