"""Training state on disk: safetensors shards under 16 MB and a small JSON file, replaced as a whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_SHARD_BYTES = 15_000_000


def save(folder: Path, tensors: dict[str, torch.Tensor], state: dict) -> None:
    """Writes a checkpoint beside the old one, then puts it in its place."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shard: dict[str, torch.Tensor] = {}
    size = shards = 0
    for name, tensor in tensors.items():
        if shard and size + tensor.nbytes > _SHARD_BYTES:
            save_file(shard, fresh / f"part-{shards:03}.safetensors")
            shard, size, shards = {}, 0, shards + 1
        shard[name] = tensor.detach().cpu().contiguous()
        size += tensor.nbytes
    save_file(shard, fresh / f"part-{shards:03}.safetensors")
    (fresh / "state.json").write_text(json.dumps(state), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Reads a checkpoint; if a save was cut between its two renames, the one before it."""
    if not folder.exists():
        folder = folder.with_name(folder.name + ".old")
    tensors: dict[str, torch.Tensor] = {}
    for part in sorted(folder.glob("part-*.safetensors")):
        tensors |= load_file(part)
    return tensors, json.loads((folder / "state.json").read_text(encoding="utf-8"))


def exists(folder: Path) -> bool:
    """Whether `load` would find a checkpoint."""
    return folder.exists() or folder.with_name(folder.name + ".old").exists()
