"""Writes a training checkpoint, or a model in memory, as a Hugging Face directory with bf16 weights."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import GenerationConfig, SwitchTransformersConfig, SwitchTransformersForConditionalGeneration

import checkpoint
from huggingface import to_hugging_face
from model import EOS, PAD, START, ModelShape, SwitchModel

# Above the number of tokens that one expert gets of the longest dialogue: nothing is dropped.
EXPERT_CAPACITY = 1024
GENERATION = {"num_beams": 4, "min_length": 10, "max_length": 100, "length_penalty": 1.0, "no_repeat_ngram_size": 3,
              "early_stopping": True}


def hugging_face_config(shape: ModelShape) -> SwitchTransformersConfig:
    """The configuration of a model, with the summarisation task's settings."""
    return SwitchTransformersConfig(
        vocab_size=shape.vocab_size, d_model=shape.d_model, d_kv=shape.d_kv, d_ff=shape.d_ff,
        num_heads=shape.num_heads, num_layers=shape.num_layers, num_decoder_layers=shape.num_decoder_layers,
        num_sparse_encoder_layers=shape.num_layers // shape.sparse_step,
        num_sparse_decoder_layers=shape.num_decoder_layers // shape.sparse_step,
        num_experts=shape.num_experts, expert_capacity=EXPERT_CAPACITY, layer_norm_epsilon=shape.layer_norm_epsilon,
        relative_attention_num_buckets=shape.relative_attention_num_buckets,
        relative_attention_max_distance=shape.relative_attention_max_distance,
        # transformers 5.24 sizes the key-value cache of generate() by num_layers, the encoder's, unless this is there.
        decoder_layers=shape.num_decoder_layers,
        feed_forward_proj="relu", is_gated_act=False, decoder_start_token_id=START, pad_token_id=PAD,
        eos_token_id=EOS, task_specific_params={"summarization": {"prefix": "summarize: ", **GENERATION}})


def export(shape: ModelShape, weights: dict[str, torch.Tensor], tokenizer: Path, output: Path) -> None:
    """Writes config.json, generation_config.json, model.safetensors (bf16) and spiece.model."""
    model = SwitchTransformersForConditionalGeneration(hugging_face_config(shape))
    tensors = to_hugging_face(SwitchModel(shape), weights)
    tensors |= {name: tensors["shared.weight"] for name in
                ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")}
    model.load_state_dict(tensors)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(decoder_start_token_id=START, pad_token_id=PAD, eos_token_id=EOS,
                                               **GENERATION)
    model.save_pretrained(output)
    if tokenizer.resolve() != (output / "spiece.model").resolve():
        shutil.copyfile(tokenizer, output / "spiece.model")
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "<pad>", "model_max_length": 512}
    (output / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="directory of the training run")
    parser.add_argument("--weights", choices=("model", "averaged"), default="averaged",
                        help="the last weights or their running average (default: %(default)s)")
    parser.add_argument("--tokenizer", type=Path, required=True, help="spiece.model")
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face directory to write")
    arguments = parser.parse_args()

    shape = ModelShape(**json.loads((arguments.folder / "shape.json").read_text(encoding="utf-8")))
    tensors, state = checkpoint.load(arguments.folder / "checkpoint")
    prefix = arguments.weights + "."
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    export(shape, weights, arguments.tokenizer, arguments.output)
    print(f"step {state['step']}: {sum(tensor.numel() for tensor in weights.values()):,} parameters")


if __name__ == "__main__":
    main()
