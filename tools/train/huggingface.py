"""The names of our weights in Hugging Face's SwitchTransformersForConditionalGeneration, both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

from model import ModelShape, SparseFeedForward, SwitchModel

_ATTENTIONS = {"self_attention": "SelfAttention", "cross_attention": "EncDecAttention"}


def _block_names(stack: str, index: int, decoder: bool, sparse: bool) -> Iterator[tuple[str, str]]:
    """(our name, theirs) for one block; `{}` in theirs stands for the expert's number."""
    ours, theirs = f"{stack}.blocks.{index}", f"{stack}.block.{index}.layer"
    for layer, kind in enumerate(("self", "cross") if decoder else ("self",)):
        yield f"{ours}.{kind}_norm.weight", f"{theirs}.{layer}.layer_norm.weight"
        for matrix in "qkvo":
            attention = _ATTENTIONS[f"{kind}_attention"]
            yield f"{ours}.{kind}_attention.{matrix}", f"{theirs}.{layer}.{attention}.{matrix}.weight"
    feed = f"{theirs}.{2 if decoder else 1}"
    yield f"{ours}.feed_norm.weight", f"{feed}.layer_norm.weight"
    if sparse:
        yield f"{ours}.feed.router", f"{feed}.mlp.router.classifier.weight"
    for matrix in ("wi", "wo"):
        expert = "experts.expert_{}." if sparse else ""
        yield f"{ours}.feed.{matrix}", f"{feed}.mlp.{expert}{matrix}.weight"


def names(model: SwitchModel) -> Iterator[tuple[str, str]]:
    """(our name, theirs) of every weight of the model."""
    yield "embedding", "shared.weight"
    for stack, decoder in (("encoder", False), ("decoder", True)):
        blocks = getattr(model, stack).blocks
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield f"{stack}.relative_bias", bias
        for index, block in enumerate(blocks):
            yield from _block_names(stack, index, decoder, isinstance(block.feed, SparseFeedForward))
        yield f"{stack}.final_norm.weight", f"{stack}.final_layer_norm.weight"


def to_hugging_face(model: SwitchModel, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames weights, one tensor per expert."""
    result: dict[str, torch.Tensor] = {}
    for ours, theirs in names(model):
        if "{}" in theirs:
            result |= {theirs.format(expert): matrix.clone() for expert, matrix in enumerate(weights[ours])}
        else:
            result[theirs] = weights[ours]
    return result


def from_hugging_face(folder: Path) -> SwitchModel:
    """Reads a checkpoint directory into a float32 model."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    fields = {name: config[name] for name in ModelShape.__dataclass_fields__ if name != "sparse_step"}
    sparse_step = config["num_decoder_layers"] // config["num_sparse_decoder_layers"]
    model = SwitchModel(ModelShape(**fields, sparse_step=sparse_step))
    tensors: dict[str, torch.Tensor] = {}
    for part in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(part)
    weights = {ours: torch.stack([tensors[theirs.format(expert)] for expert in range(model.shape.num_experts)])
               if "{}" in theirs else tensors[theirs] for ours, theirs in names(model)}
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model
