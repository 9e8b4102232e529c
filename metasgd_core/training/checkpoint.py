"""A training's whole state in one file that is never half-written.

The file is safetensors: tensors, and a JSON text in its header. It holds no code, so opening a
stranger's checkpoint runs nothing (unlike a pickle).
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

FORMAT = 1


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON-able state, so that `path` holds the old file or the new, whole.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    tensors : dict of str to Tensor
        Any device.
    state : dict
        Whatever JSON can hold.
    """
    header = {"state": json.dumps(as_json({"format": FORMAT} | state))}
    # Always the same name, so that what a killed run left there is overwritten by the next save.
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, header))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def as_json(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state as JSON will give it back: numpy's numbers are plain ones."""
    found: dict[str, Any] = json.loads(json.dumps(state, default=lambda number: number.item()))
    return found


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """Return a short text that changes with any number or name, and not with their order."""
    each = (save({k: tensors[k].detach().cpu().clone()}) for k in sorted(tensors))
    return sha256(b"".join(each)).hexdigest()[:12]


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote; the tensors are on the CPU.

    Raises
    ------
    ValueError
        If the file is truncated or no checkpoint, or was written by another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole checkpoint ({error}); delete it to train from the start"
        ) from error
    if state.get("format") != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {state.get('format')}, this version of metasgd_core "
            f"reads format {FORMAT}; delete it, or install the version that wrote it"
        )
    return tensors, state
