"""A session's edits as a Python script on the libraries alone, which computes the same numbers."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum

import torch

from model.components import DICTIONARY
from model.dictionaries import place_of
from model.edits.interventions import flat
from model.metrics import Quantity
from model.printable import printable
from model.trace import Trace
from sae import reading
from tdb_tui.errors import CommandError
from tdb_tui.files.saving import weights_hash
from tdb_tui.session import Session
from tdb_tui.sets.references import mean_acts, prompts_for
from tdb_tui.state import Inputs, Prompt

PLAIN = (bool, int, str, type(None))


class Code:
    """Values as Python that makes them again, and the modules which that needs."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def of(self, value: object) -> str:
        """Raises TypeError for what no constructor makes."""
        match value:
            case Enum():
                return f"{self._name(type(value))}.{value.name}"
            case float():
                return repr(value) if value == value and abs(value) != float("inf") else f'float("{value}")'
            case tuple():
                items = [self.of(item) for item in value]
                return f"({', '.join(items)}{',' * (len(items) == 1)})"
            case frozenset():
                return f"frozenset({{{', '.join(sorted(self.of(item) for item in value))}}})"
            case Mapping():
                return f"{{{', '.join(f'{self.of(key)}: {self.of(item)}' for key, item in value.items())}}}"
            case _ if isinstance(value, PLAIN):
                return ascii(value)
            case _ if is_dataclass(value) and not isinstance(value, type):
                return f"{self._name(type(value))}({', '.join(self._arguments(value))})"
            case _:
                raise TypeError(f"{type(value).__name__} cannot be written as Python")

    def _arguments(self, value: object) -> Iterator[str]:
        """Those that are not as they would be without saying."""
        assert is_dataclass(value)
        for each in fields(value):
            item = getattr(value, each.name)
            default = each.default if each.default_factory is MISSING else each.default_factory()
            if each.init and (default is MISSING or item != default):
                yield f"{each.name}={self.of(item)}"

    def _name(self, kind: type) -> str:
        if not kind.__module__.startswith("model."):
            raise TypeError(f"{kind.__name__} is not of the library")
        self.modules.add(kind.__module__)
        return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def script_of(session: Session) -> str:
    """The script.  Raises CommandError where the model's files are gone or an edit cannot be written."""
    code = Code()
    try:
        body = [*_edits(code, session), "", *_sources(code, session)]
        metric = code.of(session.state.inputs.metric)
    except TypeError as error:
        raise CommandError(f"these edits make no script: {error}", code="bad-file") from None
    inputs, info = session.state.inputs, session.engine.info
    modules = {*code.modules, "model.metrics", "model.edits.sources", "model.trace", "model.weights"}
    lines = [
        *_opening(session),
        *(["from functools import partial"] if inputs.means is not None else []),
        "from pathlib import Path",
        "",
        "import torch",
        "",
        *_imports(modules),
        "",
        f"MODEL = Path({str(info.directory.resolve())!a})",
        f'HASH = "{weights_hash(session)}"',
        f'DEVICE, DTYPE, THREADS = "{info.device}", torch.{info.dtype}, {torch.get_num_threads()}',
        "",
        f"# {_comment(inputs.prompt.text)}",
        f"TOKENS = {code.of(inputs.prompt.tokens)}",
        f"METRIC = {metric}",
        "",
        *body,
        "",
        *_MAIN.splitlines(),
    ]
    return "\n".join(lines) + "\n"


def _imports(modules: Collection[str]) -> Iterator[str]:
    """One line a package."""
    names: dict[str, list[str]] = {}
    for package, _, module in sorted(name.rpartition(".") for name in modules):
        names.setdefault(package, []).append(module)
    for package, imported in names.items():
        yield f"from {package} import {', '.join(imported)}"


def _opening(session: Session) -> list[str]:
    inputs = session.state.inputs
    extra = ""
    if inputs.metric.quantity is Quantity.KL:
        extra = "  The divergence is from the run without edits."
    return [
        '"""What the edits of a tdb-tui session do to its metric, one after the other and all together.',
        "",
        "Run it with the Python that tdb-tui is installed in.  Each line it prints is a number and what it is the",
        f"metric of.{extra}",
        '"""',
        "",
    ]


def _edits(code: Code, session: Session) -> Iterator[str]:
    yield "EDITS = ("
    for edit in session.state.inputs.edits:
        off = "" if edit.enabled else "  # switched off"
        name = f"i{edit.number} {edit.text}" + (f" ({edit.name})" if edit.name else "")
        line = f"    ({name!a}, {code.of(edit.changes)}),"
        yield line if edit.enabled else f"    # {_comment(line.strip())}{off}"
    yield ")"


def _sources(code: Code, session: Session) -> Iterator[str]:
    """Where the changes take values from: the other runs, and means over them."""
    inputs = session.state.inputs
    parts = ["base=trace.record(model, TOKENS)"]
    if inputs.prompt_b is not None:
        yield f"# {_comment(inputs.prompt_b.text)}"
        yield f"OTHER = {code.of(inputs.prompt_b.tokens)}"
        parts.append("other=trace.record(model, OTHER)")
    if inputs.examples:
        yield "EXAMPLES = {"
        for each in inputs.examples:
            yield f"    {each.example}: {code.of(each.tokens)},  # {_comment(each.text)}"
        yield "}"
        parts.append("examples={n: trace.record(model, tokens) for n, tokens in EXAMPLES.items()}")
    if inputs.means is not None:
        code.modules.add("model.edits.means")
        yield from _means(code, session, inputs)
        parts += ["means=averages", "references=references"]
    edited = {
        place_of(change.component) for change in flat(inputs.changes) if change.component.kind in DICTIONARY
    }
    if edited:
        code.modules |= {"sae.formats", "sae.reading"}
        yield "SAES = {"
        for each in inputs.saes:
            if reading.place_of(each.place) in edited:
                yield f"    {each.place!a}: Path({each.path!a}),"
        yield "}"
        parts.append("dictionaries=dictionaries_of()")
    yield ""
    yield ""
    if edited:
        yield from _DICTIONARIES.splitlines()
    yield from _sources_function(parts, inputs)


def _means(code: Code, session: Session, inputs: Inputs) -> Iterator[str]:
    """The reference prompts, each with its tokens' counterparts."""
    means, prompt = inputs.means, inputs.prompt
    assert means is not None  # the caller has looked

    def unused(_: Prompt) -> Trace:
        raise AssertionError("nothing is run to write a script")

    found = mean_acts(means, prompt, unused, session.engine.tokenizer.eos)
    prompts = prompts_for(means, prompt) if means.prompts else (prompt,)
    yield f"# {_comment(means.text)}: tokens, and each of TOKENS' counterpart among them"
    yield "REFERENCES = ("
    for reference, other in zip(found.references, prompts, strict=True):
        yield f"    ({code.of(other.tokens)}, {code.of(tuple(reference.places))}),"
    yield ")"
    yield f"POOLED, SKIP, OWN = {found.pooled}, {found.skip}, {not means.prompts}"


def _sources_function(parts: list[str], inputs: Inputs) -> Iterator[str]:
    yield "def sources_of(model):"
    yield '    """Where the edits take values from."""'
    if inputs.means is not None:
        yield "    found = ["
        yield "        means.Matched(places, partial(trace.record, model, tokens), None)"
        yield "        for tokens, places in REFERENCES"
        yield "    ]"
        yield '    averages = means.MeanActs(found, POOLED, SKIP, "no reference prompts")'
        yield "    references = () if OWN else tuple(found)"
    yield f"    return sources.Sources({', '.join(parts)})"


def _comment(text: str) -> str:
    return printable(text).encode("ascii", "backslashreplace").decode()


_DICTIONARIES = '''
def dictionaries_of():
    """The SAEs whose latents are edited, by the place that each takes apart."""
    found = [formats.load(path, reading.place_of(place)) for place, path in SAES.items()]
    return {each.writes: each.to(device=torch.device(DEVICE), dtype=DTYPE) for each in found}


'''.lstrip()

_MAIN = '''
def value_of(model, metric, changes, where_from):
    """The metric with these changes made."""
    run = trace.record(model, TOKENS, changes, where_from if changes else sources.Sources())
    return trace.metric_value(model, run, metric)


def main():
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision("highest")
    if weights.model_hash(MODEL) != HASH:
        raise SystemExit(f"{MODEL} holds other weights: set MODEL to where these are")
    model = weights.load_model(MODEL, DTYPE, torch.device(DEVICE))
    metric = METRIC.against(trace.reference(model, trace.record(model, TOKENS), METRIC.pos))
    where_from = sources_of(model)
    print(f"{value_of(model, metric, (), where_from)!r}\\tbaseline")
    made = ()
    for name, changes in EDITS:
        made = (*made, *changes)
        print(f"{value_of(model, metric, made, where_from)!r}\\tafter {name}")
    print(f"{value_of(model, metric, made, where_from)!r}\\tedited")


if __name__ == "__main__":
    main()
'''
