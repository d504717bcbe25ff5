"""Write and read a trial's checkpoint: one file and its digest, which shows damage before the content is used."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

CHECKPOINT_FILE = "trial.pt"
DIGEST_FILE = "trial.pt.sha256"


class CheckpointError(ValueError):
    """A checkpoint that differs from what was written; the message is one line."""


def write(folder: Path, content: bytes | memoryview) -> None:
    """Write a checkpoint's content and its digest into `folder`. Raises OSError."""
    # The digest is that of the content meant to be written, not of what reached the disk.
    digest = hashlib.sha256(content).hexdigest()
    (folder / CHECKPOINT_FILE).write_bytes(content)
    (folder / DIGEST_FILE).write_text(digest + "\n")


def read(folder: Path) -> bytes:
    """Return the content that `write` was given. Raises CheckpointError."""
    try:
        content, digest = (folder / CHECKPOINT_FILE).read_bytes(), (folder / DIGEST_FILE).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder} holds no whole checkpoint: {error}") from None
    return verified(content, digest, str(folder))


def verified(content: bytes, digest: bytes, where: str) -> bytes:
    """Return the content of the checkpoint `where` if it has this digest. Raises CheckpointError otherwise."""
    if not digest.isascii():
        raise CheckpointError(f"{where} holds no whole checkpoint: its {DIGEST_FILE} is no text")
    if hashlib.sha256(content).hexdigest().encode() != digest.strip():
        raise CheckpointError(f"{where} is damaged: the sha256 of its {len(content):,} bytes is not the one on record")
    return content


def settle(folder: Path) -> None:
    """Return once the checkpoint is on the disk and reads back as written. Raises CheckpointError, OSError."""
    for name in (CHECKPOINT_FILE, DIGEST_FILE):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    read(folder)


def dump(state: Any) -> memoryview:
    """Serialise `state` with `torch.save` into memory, so that a full disk is an OSError when the result is written."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def parse(content: bytes) -> dict[str, Any]:
    """Return the state in a checkpoint's content, on the CPU; only tensors and numbers are unpickled.

    Networks and optimizers copy what belongs on their device. An optimizer's count of steps stays where it is, and is
    read in every step: on a GPU each reading would wait for all that was begun there.
    """
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


_CONTAINERS = (dict, OrderedDict, list, tuple)


def unreadable(state: Any, place: str = "") -> str | None:
    """Return the type and place of a value that `dump` would write but `parse` refuse, None without any."""
    if isinstance(state, torch.Tensor):
        return None
    if type(state) not in _CONTAINERS:
        try:
            parse(bytes(dump(state)))
        except Exception:  # noqa: BLE001 - what cannot be written or read raises anything
            kind = type(state)
            return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.") + (
                f" as {place}" if place else ""
            )
        return None
    entries = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in entries:
        inner = f"{place}[{key!r:.40}]" if place else str(key)
        if found := unreadable(key, f"the key {inner}") or unreadable(value, inner):
            return found
    return None
