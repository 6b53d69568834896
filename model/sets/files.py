"""Prompt sets as files: JSONL or CSV, one example a row, with these columns:

    prompt           text, without a `<|endoftext|>` to be put before it
    target(s)        a token's text, or a list of them (in CSV a JSON list)
    distractor(s)    the same; may be left out
    roles            {"S2": 9, ...}: places among the prompt's own tokens, the first being 0 (in CSV as JSON)
    counterfactual   text; may be left out
    template         a name for the wording; may be left out

Everything that is wrong with a file is a PromptError: one sentence with the file and the line.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model.printable import printable
from model.sets.prompts import Example, PromptError, PromptSet, checked
from model.tokenizer import Tokenizer

COLUMNS: tuple[str, ...] = ("prompt", "targets", "distractors", "roles", "counterfactual", "template")
SINGULAR = {"target": "targets", "distractor": "distractors"}

Row = Mapping[str, Any]


def read_prompts(path: Path, tokenizer: Tokenizer) -> PromptSet:
    """The set in a file, each answer checked to be one token of `tokenizer`.

    Raises PromptError: one sentence with the file and the line.
    """
    rows = _reader_of(path)
    examples: list[Example] = []
    for line, row in rows(_text_of(path), path.name):
        try:
            examples.append(checked(_example(row), tokenizer))
        except PromptError as error:
            raise PromptError(f"{path.name}:{line}: {error}") from None
    if not examples:
        raise PromptError(f"{path.name} holds no prompts: one a row was expected")
    return PromptSet(path.stem, tuple(examples))


def write_prompts(prompts: PromptSet, path: Path) -> None:
    """Write the set so that `read_prompts` gives the same examples.  Raises PromptError."""
    _reader_of(path)  # refuses an ending that could not be read again
    text = _as_csv(prompts) if path.suffix.lower() == ".csv" else _as_jsonl(prompts)
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise PromptError(f"cannot write {path}: {_reason(error)}") from None


def example_of(row: Row, tokenizer: Tokenizer) -> Example:
    """An example from its columns, as `row_of` gives them, checked.  Raises PromptError."""
    return checked(_example(_named(row)), tokenizer)


def _reader_of(path: Path) -> Callable[[str, str], Iterator[tuple[int, Row]]]:
    """What reads this kind of file: (text, name) -> (line, row)s."""
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            return _jsonl_rows
        case ".csv":
            return _csv_rows
        case _:
            raise PromptError(f"{path.name} is neither .jsonl nor .csv: prompts are read from those")


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PromptError(f"cannot read {path}: {_reason(error)}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PromptError(f"{path.name}:{line}: the file is not UTF-8 text") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _jsonl_rows(text: str, name: str) -> Iterator[tuple[int, Row]]:
    """(line, row); a text may hold other line separators than the one that ends rows."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # also a number of thousands of digits
            said = error.msg.lower() if isinstance(error, json.JSONDecodeError) else "too large"
            raise PromptError(f"{name}:{number}: this line is not JSON: {said}") from None
        if not isinstance(row, dict):
            expected = '{"prompt": ...} was expected'
            raise PromptError(f"{name}:{number}: this line is not a JSON object: {expected}")
        try:
            yield number, _named(row)
        except PromptError as error:
            raise PromptError(f"{name}:{number}: {error}") from None


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Row]]:
    """(line on which the row begins, row); cells left empty are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if cells and header is None:
                header = [cell.strip() for cell in cells]
                _named(dict.fromkeys(header))
                if len(set(header)) < len(header):
                    raise PromptError("a column is there twice: each once was expected")
            elif cells and header is not None:
                if len(cells) != len(header):
                    raise PromptError(f"the row has {len(cells)} cells: the header has {len(header)}")
                row = zip(header, cells, strict=True)
                yield line, _named({column: _cell(column, cell) for column, cell in row if cell})
            line = reader.line_num + 1
    except csv.Error as error:
        raise PromptError(f"{name}:{line}: this row is not CSV: {error}") from None
    except PromptError as error:
        raise PromptError(f"{name}:{line}: {error}") from None


def _cell(column: str, cell: str) -> Any:
    """A cell's value: JSON where the column holds a list or an object, else its text."""
    opening = {"targets": "[", "distractors": "[", "roles": "{"}.get(SINGULAR.get(column, column))
    if opening is None or (opening == "[" and not (cell.startswith("[") and len(cell) > 1)):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        what = "roles are" if opening == "{" else "a cell that begins with '[' is"
        raise PromptError(f"{column} is not JSON: {what} written as JSON, {_SHAPES[opening]}") from None


_SHAPES = {"[": '[" Mary", " Ann"]', "{": '{"S2": 9}'}


def _named(row: Row) -> Row:
    """The row by the names in COLUMNS."""
    named: dict[str, Any] = {}
    for column, value in row.items():
        name = SINGULAR.get(column, column)
        if name not in COLUMNS:
            raise PromptError(f"no column '{printable(column)}': there are {', '.join(COLUMNS)}")
        if name in named:
            raise PromptError(f"the column of {name} is there under both names: one of them was expected")
        named[name] = value
    if "prompt" not in named:
        raise PromptError("there is no prompt: a row has at least a prompt and a target")
    return named


def _example(row: Row) -> Example:
    roles = {} if row.get("roles") is None else row["roles"]
    if not isinstance(roles, dict) or not all(type(place) is int for place in roles.values()):
        raise PromptError(f"roles are not numbers of tokens by name: {_SHAPES['{']} was expected")
    counterfactual = row.get("counterfactual")
    return Example(
        _string(row, "prompt"),
        _strings(row, "targets"),
        _strings(row, "distractors"),
        roles,
        None if counterfactual is None else _string(row, "counterfactual"),
        "" if row.get("template") is None else _string(row, "template"),
    )


def _string(row: Row, column: str) -> str:
    if not isinstance(row[column], str):
        raise PromptError(f"{column} is not a text: a string was expected")
    return row[column]


def _strings(row: Row, column: str) -> tuple[str, ...]:
    value = row.get(column)
    words = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(word, str) for word in words):
        raise PromptError(f"{column} are not tokens: a token's text or a list of them was expected")
    return tuple(words)


def _as_jsonl(prompts: PromptSet) -> str:
    rows = (row_of(example) for example in prompts.examples)
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _as_csv(prompts: PromptSet) -> str:
    into = io.StringIO(newline="")
    writer = csv.DictWriter(into, COLUMNS, restval="")
    writer.writeheader()
    for example in prompts.examples:
        row = row_of(example)
        texts = {column: value for column, value in row.items() if isinstance(value, str)}
        lists = {column: json.dumps(row[column], ensure_ascii=False) for column in row.keys() - texts.keys()}
        writer.writerow(texts | lists)
    return into.getvalue()


def row_of(example: Example) -> dict[str, Any]:
    """What is not empty, by column."""
    values = (
        example.text, list(example.targets), list(example.distractors), dict(example.roles),
        example.counterfactual, example.template,
    )  # fmt: skip
    return {column: value for column, value in zip(COLUMNS, values, strict=True) if value}
