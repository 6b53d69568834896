"""Dictionaries in this project's own format: one safetensors file, with all but the tensors in its header.

The header has `schema` and `sae`, a JSON object: `reads` and `writes` (`mlp_out.3`), `nonlinearity`, `normalization`,
`pre_bias`, and `notes`, which say how it was trained and are not needed to use it.
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save

from model.files import CheckpointError, map_safetensors
from sae.autoencoder import Autoencoder
from sae.nonlinearities import BatchTopK, JumpRelu, Nonlinearity, Relu, TopK
from sae.normalization import Normalization
from sae.places import PLACES
from sae.reading import built, exact, matrix, number, place_of, place_text, tensor_of, whole

SCHEMA = "tdb-sae/1"
CHECKPOINT = "checkpoint"
"How the names of files begin that a training keeps beside its dictionaries, to go on from."
TENSORS = ("w_enc", "b_enc", "w_dec", "b_dec")
KEYS = ("reads", "writes", "nonlinearity", "normalization", "pre_bias", "notes")


def save_autoencoder(autoencoder: Autoencoder, path: Path, notes: dict[str, Any] | None = None) -> None:
    """Write a dictionary, whole or not at all, in the dtype that it has."""
    header = {
        "reads": place_text(autoencoder.reads),
        "writes": place_text(autoencoder.writes),
        "nonlinearity": _described(autoencoder.nonlinearity),
        "normalization": autoencoder.normalization.value,
        "pre_bias": autoencoder.pre_bias,
        "notes": notes or {},
    }
    tensors = {name: x.detach().cpu().contiguous() for name, x in autoencoder.tensors().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.writelines(_in_order(save(tensors, metadata={"schema": SCHEMA, "sae": json.dumps(header)})))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _in_order(data: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file in two pieces, its metadata by name: the library writes them as they come, another each time.

    So the same dictionary is the same file, byte by byte.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(data)[8 + length :]


def load_autoencoder(path: Path) -> tuple[Autoencoder, dict[str, Any]]:
    """A file that `save_autoencoder` wrote, its tensors mapped, and its notes.  Raises CheckpointError."""
    tensors, metadata = map_safetensors(path)
    header, name = _header(metadata, path.name), path.name
    exact(header, KEYS, (), name)
    exact(tensors, TENSORS, ("w_skip", "threshold", "density"), name)
    found = {key: tensor_of(tensors, key, name) for key in tensors}
    reads, writes = place_of(str(header["reads"])), place_of(str(header["writes"]), PLACES)
    kinds = {kind.value: kind for kind in Normalization}
    if header["normalization"] not in kinds:
        raise CheckpointError(
            f"{name} has normalization {header['normalization']!r}: {', '.join(kinds)} are known"
        )
    autoencoder = built(
        name,
        w_enc=matrix(tensors, "w_enc", name),
        b_enc=found["b_enc"],
        w_dec=matrix(tensors, "w_dec", name),
        b_dec=found["b_dec"],
        reads=reads,
        writes=writes,
        nonlinearity=_nonlinearity(header["nonlinearity"], found, name),
        normalization=kinds[header["normalization"]],
        pre_bias=bool(header["pre_bias"]),
        w_skip=found.get("w_skip"),
        density=found.get("density"),
    )
    return autoencoder, header["notes"]


def _header(metadata: dict[str, str], name: str) -> dict[str, Any]:
    schema = metadata.get("schema")
    if schema is None:
        raise CheckpointError(f'{name} isn\'t a dictionary: missing "schema" (expected "{SCHEMA}")')
    if schema != SCHEMA:
        raise CheckpointError(f"{name} is {schema}: this version reads {SCHEMA}")
    try:
        header = json.loads(metadata["sae"])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise CheckpointError(f"{name} is damaged: its header does not say what it is")
    return header


def _described(nonlinearity: Nonlinearity) -> dict[str, Any]:
    match nonlinearity:
        case Relu():
            return {"name": "relu"}
        case TopK(k):
            return {"name": "topk", "k": k}
        case BatchTopK(k, threshold):
            return {"name": "batchtopk", "k": k, "threshold": threshold}
        case JumpRelu():
            return {"name": "jumprelu"}


def _nonlinearity(data: Any, tensors: dict[str, Any], name: str) -> Nonlinearity:
    known = {"relu": (), "topk": ("k",), "batchtopk": ("k", "threshold"), "jumprelu": ()}
    kind = data.get("name") if isinstance(data, dict) else None
    if kind not in known:
        raise CheckpointError(f"{name} has nonlinearity {kind!r}: {', '.join(known)} are known")
    exact(data, ("name", *known[kind]), (), name)
    if ("threshold" in tensors) != (kind == "jumprelu"):
        raise CheckpointError(f"{name}: thresholds belong to jumprelu, and to nothing else")
    match kind:
        case "relu":
            return Relu()
        case "topk":
            return TopK(whole(data, "k", name))
        case "batchtopk":
            return BatchTopK(whole(data, "k", name), number(data, "threshold", name))
        case _:
            return JumpRelu(tensors["threshold"])
