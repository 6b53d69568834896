"""`tdb-tui pull sae ID [NAME...]`: SAEs from the Hugging Face hub into its own cache, and where they then lie.

A repository holds one SAE or many, each a directory of SAELens or dictionary_learning, or a file of its own; only those
that are asked for are fetched, and of them only what is read.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tdb_tui.errors import did_you_mean
from tdb_tui.machine.downloads import Progress, PullError
from tdb_tui.machine.pull import bring, one_sentence

DIRECTORIES = (
    ({"cfg.json", "sae_weights.safetensors"}, {"sparsity.safetensors"}),
    ({"config.json", "ae.pt"}, set[str]()),
)
"What a directory that is an SAE holds, and what it may hold, of SAELens and of dictionary_learning."
FILES = (".pt", ".pth", ".safetensors")
"Of OpenAI's and of tdb-tui's own."
SHOWN = 4


def pull_saes(
    repository: str, names: Sequence[str] = (), *, progress: Progress = lambda file, done, total: None
) -> list[Path]:
    """Download SAEs of a repository, or those of `names` (patterns: `*.hook_resid_pre`); the path of each.

    Goes on where an earlier download stopped.  Raises PullError.
    """
    from huggingface_hub import HfApi

    with one_sentence("repository", repository, " ".join(("tdb-tui pull sae", repository, *names))):
        info = HfApi().model_info(repository, revision="main")
        there = saes_among([sibling.rfilename for sibling in info.siblings or []])
        wanted = _wanted(repository, there, names)
        files = [file for name in wanted for file in there[name]]
        paths = dict(zip(files, bring(repository, files, progress), strict=True))
    return [_place(paths[there[name][0]], is_file=name == there[name][0]) for name in wanted]


def _place(first: Path, is_file: bool) -> Path:
    return first if is_file else first.parent


def saes_among(files: Iterable[str]) -> dict[str, list[str]]:
    """A repository's SAEs by name, with the files of each: a directory's, `.` the top one, or a file alone."""
    by_folder: dict[str, set[str]] = {}
    for file in sorted(files):
        path = PurePosixPath(file)
        by_folder.setdefault(str(path.parent), set()).add(path.name)
    found: dict[str, list[str]] = {}
    for folder, names in by_folder.items():
        form = next(((all_, more) for all_, more in DIRECTORIES if all_ <= names), None)
        if form is not None:
            found[folder] = [_joined(folder, name) for name in sorted(names & (form[0] | form[1]))]
            continue
        for name in sorted(names):
            if name.endswith(FILES):
                found[_joined(folder, name)] = [_joined(folder, name)]
    return found


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _wanted(repository: str, there: dict[str, list[str]], names: Sequence[str]) -> list[str]:
    """Raises PullError, one sentence, where it is not clear which."""
    if not there:
        raise PullError(f"{repository} has no SAE in a known format: nothing was downloaded")
    if not names and len(there) > 1:
        some = ", ".join([*there][:SHOWN])
        raise PullError(
            f"{repository} has {len(there)} SAEs ({some}{', ...' * (len(there) > SHOWN)}): name those you want, "
            f"or '*' for all, as in: tdb-tui pull sae {repository} '{next(iter(there))}'"
        )
    found: list[str] = []
    for name in names or ["*"]:
        matching = [each for each in there if fnmatchcase(each, name.rstrip("/"))]
        if not matching:
            right = did_you_mean(name, there) or f": it has {', '.join([*there][:SHOWN])}"
            raise PullError(f"{repository} has no SAE {name}{right}")
        found += matching
    return list(dict.fromkeys(found))


def find_saes(text: str) -> Path | None:
    """Where the cache has `OWNER/NAME` or `OWNER/NAME/SAE`; None for what is no id, or has not been pulled."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    owner, _, rest = text.partition("/")
    name, _, inside = rest.partition("/")
    if not owner or not name or owner.startswith((".", "~")):
        return None
    try:
        found = Path(snapshot_download(f"{owner}/{name}", local_files_only=True)) / inside
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return found if found.exists() else None
