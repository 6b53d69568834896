"""What `tdb-tui doctor` says about this machine, as rows.  Goes on where something is broken."""

import importlib.metadata
import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tdb_tui.machine import models

Rows = list[tuple[str, str]]

PACKAGES = ("tdb-tui", "torch", "textual", "numpy", "tiktoken", "safetensors", "huggingface_hub", "typer")


def report() -> Rows:
    """(name, finding) in the order they are printed: versions, devices, terminal, models, paths."""
    sections: list[tuple[str, Callable[[], Rows]]] = [
        ("versions", versions),
        ("devices", device_rows),
        ("terminal", terminal),
        ("models", model_rows),
        ("paths", paths),
    ]
    return [row for name, section in sections for row in _surviving(name, section)]


def as_text(rows: Rows) -> str:
    """One line a row, names in a column; nothing in it acts on a terminal."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {_one_line(finding)}" for name, finding in rows)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _surviving(name: str, section: Callable[[], Rows]) -> Rows:
    """A section that cannot be had is itself a finding: whatever fails on import is what doctor is for."""
    try:
        return section()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        return [(name, f"broken: {type(error).__name__}: {reason}")]


def versions() -> Rows:
    """Python's, the platform's, and those of the packages that do the work, without importing them."""
    rows = [("python", platform.python_version()), ("platform", platform.platform())]
    return rows + [(package, _version(package)) for package in PACKAGES]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def device_rows() -> Rows:
    """Every device, the one that `--device auto` takes, and the dtypes that compute there."""
    import torch

    from tdb_tui.machine import devices

    found = [(name, devices.describe(torch.device(name))) for name in devices.devices()]
    chosen = devices.pick_device("auto")
    dtypes = [f"{name} {_works(chosen, name)}" for name in devices.DTYPES]
    return [*found, ("--device auto", str(chosen)), ("dtypes there", ", ".join(dtypes))]


def _works(device: object, dtype: str) -> str:
    """Whether a small product can be computed: the only answer that counts."""
    import torch

    try:
        x = torch.ones(2, 2, device=torch.device(str(device)), dtype=getattr(torch, dtype))
        return "ok" if float((x @ x).sum()) == 8 else "wrong"
    except (RuntimeError, TypeError) as error:
        return f"broken ({type(error).__name__})"


def terminal() -> Rows:
    """What decides how the screen looks."""
    size = shutil.get_terminal_size()
    seen = {name: os.environ[name] for name in _TERMINAL_VARIABLES if os.environ.get(name)}
    return [
        ("terminal", ", ".join(f"{name}={value}" for name, value in seen.items()) or "TERM is not set"),
        ("colours", colours()),
        ("characters", _characters()),
        (
            "stdin, stdout, stderr",
            ", ".join(_stream(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)),
        ),
        ("size", f"{size.columns}x{size.lines}" + _too_small(size)),
        ("through", _through()),
    ]


_TERMINAL_VARIABLES = ("TERM", "COLORTERM", "TERM_PROGRAM", "NO_COLOR", "TEXTUAL_COLOR_SYSTEM")


def colours() -> str:
    """As the environment has it: none, 16, 256 or truecolor."""
    term = os.environ.get("TERM", "")
    if os.environ.get("NO_COLOR"):
        return "none (NO_COLOR is set)"
    if term in ("", "dumb"):
        return "none (TERM is dumb or not set)"
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if "256color" in term or term in ("xterm-kitty", "alacritty") else "16"


def _characters() -> str:
    encoding = getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)
    if encoding.lower().replace("-", "") == "utf8":
        return f"Unicode ({encoding})"
    return f"{encoding}: set LC_ALL to a UTF-8 locale, or use --ascii"


def _stream(stream: object) -> str:
    isatty = getattr(stream, "isatty", None)
    return "terminal" if isatty is not None and isatty() else "not a terminal"


def _too_small(size: os.terminal_size) -> str:
    return "" if size.columns >= 60 and size.lines >= 16 else " (the screen needs 60x16)"


def _through() -> str:
    marks = {"ssh": "SSH_CONNECTION", "tmux": "TMUX", "screen": "STY"}
    return " and ".join(name for name, variable in marks.items() if os.environ.get(variable)) or "nothing"


def model_rows() -> Rows:
    """Where models are looked for, what is there, and which one starts without --model."""
    rows = models.where_looked()
    try:
        found = models.find_model()
        rows.append(("default model", f"{found.name}: {found.directory}"))
    except models.ModelNotFound as error:
        rows.append(("default model", f"none: {error}"))
    return [*rows, ("bundled demo model loads", demo_state())]


def demo_state() -> str:
    """`ok`, or why the bundled model cannot be used."""
    if not models.DEMO.is_dir():
        return f"broken: {models.DEMO} is not there"
    try:
        from model.tokenizer import load_tokenizer
        from model.weights import load_model

        shape, n_vocab = load_model(models.DEMO).config, load_tokenizer(models.DEMO).n_vocab
    except Exception as error:  # a torch that cannot be imported is as much a finding as a bad file
        return f"broken: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return f"ok: {shape.n_layer} layers of {shape.n_head} heads, {n_vocab} tokens"


def paths() -> Rows:
    """Where configuration and state are kept."""
    import platformdirs

    kinds = {
        "configuration": platformdirs.user_config_path("tdb-tui"),
        "state": platformdirs.user_state_path("tdb-tui"),
        "cache": platformdirs.user_cache_path("tdb-tui"),
    }
    return [(kind, f"{path}{_writable(path)}") for kind, path in kinds.items()]


def _writable(path: Path) -> str:
    """Whether it can be made or written: asked of the nearest directory that exists."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return "" if os.access(there, os.W_OK) else " (not writable)"
