#!/usr/bin/env python3
"""Makes the fixtures of tests/model: tiny random Switch checkpoints and what transformers computes from them.

    python tools/parity/make_fixtures.py            # writes tests/data/model
    python tools/parity/make_fixtures.py -o DIR --only gated

Each case is a directory with the checkpoint (config.json and weights in some form), and
    expected.safetensors   logits of a teacher-forced pass and router choices, computed in fp32 from the stored weights
    expected.json          inputs, targets, and the outputs of generate() for a list of settings
Beside them lie logits.json (processed scores) and buckets.json (relative position buckets).
The version of transformers that made them is written into expected.json; requirements.txt pins it.
"""

import argparse
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file
from transformers import GenerationConfig, SwitchTransformersConfig, SwitchTransformersForConditionalGeneration
from transformers.modeling_outputs import MoEModelOutput
from transformers.models.switch_transformers import modeling_switch_transformers as switch
from transformers.models.t5.modeling_t5 import T5Config, T5DenseGatedActDense

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = dict(
    vocab_size=61, d_model=16, d_kv=4, d_ff=24, num_heads=3, num_layers=2, num_decoder_layers=2,
    num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, num_experts=8, expert_capacity=64,
    relative_attention_num_buckets=8, relative_attention_max_distance=20, decoder_start_token_id=0,
)  # fmt: skip

# name, changes to SMALL, how it is stored, other properties
CASES = [
    ("base", {}, dict(form="safetensors", dtype="float32")),
    ("one_expert", dict(num_experts=1, num_sparse_encoder_layers=2, num_sparse_decoder_layers=2),
     dict(form="safetensors", dtype="float32")),
    ("dropped_untied", dict(num_experts=2, expert_capacity=3, num_sparse_encoder_layers=2, num_sparse_decoder_layers=2,
                            tie_word_embeddings=False), dict(form="safetensors", dtype="float32")),
    ("capacity_zero", dict(num_experts=2, expert_capacity=0), dict(form="safetensors", dtype="bfloat16")),
    ("sixteen_bf16", dict(num_experts=16, num_layers=4, num_decoder_layers=3, num_sparse_encoder_layers=2),
     dict(form="safetensors", dtype="bfloat16")),
    ("step_three_f16", dict(num_layers=5, num_decoder_layers=4, encoder_sparse_step=3, decoder_sparse_step=3,
                            num_experts=3), dict(form="safetensors", dtype="float16")),
    ("no_sparse", dict(num_layers=3, num_decoder_layers=2, num_sparse_encoder_layers=0, num_sparse_decoder_layers=3),
     dict(form="safetensors", dtype="bfloat16")),
    ("one_layer", dict(num_layers=1, num_decoder_layers=1, num_sparse_encoder_layers=0, num_sparse_decoder_layers=0,
                       num_experts=2), dict(form="safetensors", dtype="float32")),
    ("bin_mixed", dict(num_experts=4), dict(form="bin", dtype="mixed")),
    ("sharded", dict(num_experts=4, expert_capacity=4), dict(form="safetensors", dtype="bfloat16", shards=3)),
    ("bin_sharded", dict(num_experts=4, tie_word_embeddings=False), dict(form="bin", dtype="float32", shards=2)),
    ("router_bias", dict(router_bias=True, num_experts=5), dict(form="safetensors", dtype="float32")),
    ("router_bf16", dict(router_dtype="bfloat16", router_bias=True, num_experts=4),
     dict(form="safetensors", dtype="float32")),
    ("gelu", dict(dense_act_fn="gelu", num_experts=2), dict(form="safetensors", dtype="bfloat16")),
    ("gelu_new_wide_heads", dict(dense_act_fn="gelu_new", d_kv=7, num_heads=5, num_experts=2),
     dict(form="safetensors", dtype="bfloat16")),
    ("silu_buckets", dict(dense_act_fn="silu", num_experts=2, relative_attention_num_buckets=32,
                          relative_attention_max_distance=128), dict(form="safetensors", dtype="float32", long=True)),
    ("gated", dict(feed_forward_proj="gated-gelu", is_gated_act=True, num_experts=4),
     dict(form="safetensors", dtype="float32", gated=True)),
    ("head_differs", dict(num_experts=2), dict(form="safetensors", dtype="float32", head_differs=True)),
    ("start_and_ends", dict(num_experts=4, decoder_start_token_id=5, pad_token_id=2, eos_token_id=[1, 9, 17, 33]),
     dict(form="safetensors", dtype="bfloat16")),
]  # fmt: skip

# Beside greedy decoding. More end tokens than the config has make beams finish at different lengths.
ENDS = [1, 7, 13, 22, 34, 48]
SETTINGS = [
    dict(max_new_tokens=14),
    dict(max_new_tokens=14, eos_token_id=ENDS),
    dict(max_length=9),
    dict(),
    dict(max_new_tokens=14, min_new_tokens=6, eos_token_id=ENDS),
    dict(max_length=15, min_length=9, eos_token_id=ENDS, no_repeat_ngram_size=2),
    dict(max_new_tokens=12, repetition_penalty=1.7),
    dict(max_new_tokens=12, no_repeat_ngram_size=1, forced_bos_token_id=11, forced_eos_token_id=1),
    dict(max_new_tokens=12, bad_words_ids=[[3], [1], [4, 5]], suppress_tokens=[8, 9, 10], begin_suppress_tokens=[20, 21]),
    dict(max_new_tokens=14, num_beams=2, eos_token_id=ENDS),
    dict(max_new_tokens=14, num_beams=4, num_return_sequences=4, eos_token_id=ENDS),
    dict(max_new_tokens=14, num_beams=4, num_return_sequences=4, eos_token_id=ENDS, early_stopping=True),
    dict(max_new_tokens=14, num_beams=4, num_return_sequences=3, eos_token_id=ENDS, early_stopping="never"),
    dict(max_new_tokens=14, num_beams=3, num_return_sequences=3, eos_token_id=ENDS, length_penalty=2.0),
    dict(max_new_tokens=14, num_beams=3, num_return_sequences=3, eos_token_id=ENDS, length_penalty=2.0,
         early_stopping="never"),
    dict(max_new_tokens=14, num_beams=3, num_return_sequences=2, eos_token_id=ENDS, length_penalty=0.0),
    dict(max_new_tokens=14, num_beams=3, num_return_sequences=2, eos_token_id=ENDS, length_penalty=-1.5),
    dict(max_new_tokens=6, num_beams=5, num_return_sequences=5),
    dict(max_new_tokens=14, num_beams=4, eos_token_id=ENDS, min_new_tokens=5, no_repeat_ngram_size=3, length_penalty=2.0,
         early_stopping=True),
    dict(max_new_tokens=12, num_beams=3, num_return_sequences=3, repetition_penalty=1.4, forced_eos_token_id=1),
    # Scores at or below the -1e9 of a beam that never finished: such beams are returned.
    dict(max_length=2, num_beams=3, num_return_sequences=3, forced_bos_token_id=11),
    dict(max_new_tokens=14, num_beams=3, num_return_sequences=3, eos_token_id=ENDS, length_penalty=-14.0),
    dict(max_new_tokens=14, num_beams=3, num_return_sequences=2, length_penalty=-90.0),
]  # fmt: skip

# For logits.json: sampling and its neighbours.
PROCESSORS = [
    dict(do_sample=True, temperature=0.7, top_k=0),
    dict(do_sample=True, temperature=1.9, top_k=7),
    dict(do_sample=True, top_k=0, top_p=0.9),
    dict(do_sample=True, top_k=0, top_p=0.3),
    dict(do_sample=True, top_k=0, top_p=0.0),
    dict(do_sample=True, top_k=5, top_p=0.8, temperature=0.5),
    dict(do_sample=True),
    dict(do_sample=True, top_k=1000),
    dict(do_sample=True, top_k=20, repetition_penalty=1.3, no_repeat_ngram_size=2),
    dict(repetition_penalty=0.8, min_length=7),
    dict(no_repeat_ngram_size=3, bad_words_ids=[[5, 6], [1], [9], [5, 6, 12]]),
    dict(min_new_tokens=9, suppress_tokens=[0, 2]),
]


def case_config(changes):
    return SwitchTransformersConfig(**{**SMALL, **changes})


class GatedFeedForward(T5DenseGatedActDense):
    """T5 v1.1's gated feed-forward in the place of the Switch one."""

    def __init__(self, config):
        super().__init__(T5Config(d_model=config.d_model, d_ff=config.d_ff, dropout_rate=0.0, feed_forward_proj="gated-gelu"))


def make_model(config, gated):
    plain = switch.SwitchTransformersDenseActDense
    if gated:
        switch.SwitchTransformersDenseActDense = GatedFeedForward
    try:
        with transformers.initialization.no_init_weights():
            model = SwitchTransformersForConditionalGeneration(config)
        model.tie_weights()
        assert (model.encoder.embed_tokens.weight is model.shared.weight) == config.tie_word_embeddings
    finally:
        switch.SwitchTransformersDenseActDense = plain
    return model.eval()


def randomise(model, generator):
    """Values that make attention, routing and outputs vary: the initialisation of the class repeats one token."""
    inner = model.config.d_model
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "layer_norm" in name:
            parameter.data = 1.0 + 0.2 * noise
        elif "relative_attention_bias" in name:
            parameter.data = noise
        elif "router.classifier.bias" in name:
            parameter.data = 0.3 * noise
        elif "router" in name:
            parameter.data = 2.0 * noise / inner**0.5
        elif name.endswith(("q.weight", "k.weight")):
            parameter.data = 1.2 * noise / (inner * model.config.d_kv**0.5) ** 0.5
        elif "shared" in name or "embed_tokens" in name:
            parameter.data = 0.35 * inner**0.5 * torch.nn.functional.normalize(noise, dim=-1)
        elif "lm_head" in name:
            parameter.data = 1.5 * noise / inner**0.5
        elif name.endswith("wo.weight"):
            parameter.data = 3.0 * noise / parameter.shape[-1] ** 0.5
        else:
            parameter.data = 1.5 * noise / parameter.shape[-1] ** 0.5


def stored_state(model, properties, generator):
    """The tensors to write, in their stored types; also rounds the model's own weights to them."""
    state = {name: tensor for name, tensor in model.state_dict().items()}
    tied = [k for k in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
            if model.config.tie_word_embeddings]  # fmt: skip
    for name in tied:
        del state[name]
    if properties.get("head_differs"):
        head = torch.randn(model.lm_head.weight.shape, generator=generator)
        model.lm_head.weight = torch.nn.Parameter(head)
        state["lm_head.weight"] = head
    stored = {}
    for index, (name, tensor) in enumerate(state.items()):
        kind = properties["dtype"]
        if kind == "mixed":
            kind = "bfloat16" if ("experts" in name or index % 3 == 0) and "router" not in name else "float32"
        stored[name] = tensor.to(getattr(torch, kind)).contiguous()
        tensor.data.copy_(stored[name].to(torch.float32))
    return stored


def write_weights(directory, stored, properties):
    shards = properties.get("shards", 1)
    names = list(stored)
    suffix = "safetensors" if properties["form"] == "safetensors" else "bin"
    stem = "model" if suffix == "safetensors" else "pytorch_model"

    def write(path, part):
        if suffix == "safetensors":
            save_file(part, path, metadata={"format": "pt"})
        else:
            if properties["dtype"] == "mixed" and "shared.weight" in part:
                # Old .bin files list tied tensors under all their names, over one storage.
                for alias in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
                    part[alias] = part["shared.weight"]
            torch.save(part, path)

    if shards == 1:
        write(directory / f"{stem}.{suffix}", dict(stored))
        return
    weight_map = {}
    for index in range(shards):
        file = f"{stem}-{index + 1:05d}-of-{shards:05d}.{suffix}"
        part = {name: stored[name] for name in names[index::shards]}
        write(directory / file, part)
        weight_map.update({name: file for name in part})
    total = sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=1) + "\n")


class RouterRecord:
    """Remembers what every router decided, in the order in which they ran."""

    def __init__(self, model):
        self.decisions = []
        self.hooks = [
            module.register_forward_hook(self.record)
            for module in model.modules()
            if isinstance(module, switch.SwitchTransformersTop1Router)
        ]

    def record(self, module, inputs, outputs):
        mask, probability, logits = outputs
        probabilities = torch.softmax(logits, dim=-1, dtype=module.dtype)
        self.decisions.append((probabilities.argmax(-1)[0], mask.sum(-1)[0] == 0, probability[0, :, 0].float()))

    def close(self):
        for hook in self.hooks:
            hook.remove()


def inputs_for(config, long, generator):
    lengths = [140, 3] if long else [9, 1, 21, 4]
    low = max(3, config.decoder_start_token_id)
    inputs = [torch.randint(low, config.vocab_size, (n,), generator=generator).tolist() + [1] for n in lengths]
    targets = [torch.randint(low, config.vocab_size, (n,), generator=generator).tolist() for n in (7, 12, 1, 5)]
    return inputs, [[config.decoder_start_token_id] + target for target in targets[: len(inputs)]]


def teacher_forced(model, inputs, targets):
    tensors = {}
    for index, (source, target) in enumerate(zip(inputs, targets)):
        record = RouterRecord(model)
        with torch.no_grad():
            encoded = model.encoder(input_ids=torch.tensor([source])).last_hidden_state
            encoder_layers = len(record.decisions)
            logits = model(encoder_outputs=MoEModelOutput(last_hidden_state=encoded), decoder_input_ids=torch.tensor([target])).logits
        record.close()
        tensors[f"{index}.logits"] = logits[0].contiguous()
        tensors[f"{index}.encoded"] = encoded[0].contiguous()
        for stack, decisions in (("encoder", record.decisions[:encoder_layers]),
                                 ("decoder", record.decisions[encoder_layers:])):  # fmt: skip
            for layer, (expert, dropped, probability) in enumerate(decisions):
                tensors[f"{index}.{stack}.{layer}.expert"] = expert.to(torch.int32).contiguous()
                tensors[f"{index}.{stack}.{layer}.dropped"] = dropped.to(torch.uint8).contiguous()
                tensors[f"{index}.{stack}.{layer}.probability"] = probability.contiguous()
    return tensors


def generated(model, inputs, settings):
    base = dict(decoder_start_token_id=model.config.decoder_start_token_id, pad_token_id=model.config.pad_token_id,
                eos_token_id=model.config.eos_token_id)  # fmt: skip
    results = []
    for setting in settings:
        options = {**base, **setting}
        model.generation_config = GenerationConfig(**options)
        ends = options["eos_token_id"] if isinstance(options["eos_token_id"], list) else [options["eos_token_id"]]
        outputs = []
        for source in inputs:
            output = model.generate(torch.tensor([source]), return_dict_in_generate=True, output_scores=True)
            scores = output.get("sequences_scores")
            rows = []
            for row, sequence in enumerate(output.sequences[:, 1:].tolist()):
                end = next((i + 1 for i, token in enumerate(sequence) if token in ends), len(sequence))
                entry = {"tokens": sequence[:end]}
                if scores is not None:
                    entry["score"] = round(scores[row].item(), 6)
                rows.append(entry)
            outputs.append(rows)
        results.append({"options": options, "outputs": outputs})
    return results


def make_case(directory, index, name, changes, properties):
    generator = torch.Generator().manual_seed(1000 + index)
    directory.mkdir(parents=True)
    config = case_config(changes)
    model = make_model(config, properties.get("gated", False))
    randomise(model, generator)
    stored = stored_state(model, properties, generator)
    write_weights(directory, stored, properties)
    config.architectures = ["SwitchTransformersForConditionalGeneration"]
    written = json.loads(config.to_json_string(use_diff=False))
    # What other versions write too, and what carries no information here, is left out.
    kept = {key: value for key, value in written.items() if key in {**SMALL, **changes} or key in (
        "architectures", "model_type", "tie_word_embeddings", "eos_token_id", "pad_token_id", "dense_act_fn",
        "encoder_sparse_step", "decoder_sparse_step")}  # fmt: skip
    (directory / "config.json").write_text(json.dumps(kept, indent=1) + "\n")

    inputs, targets = inputs_for(config, properties.get("long", False), generator)
    save_file(teacher_forced(model, inputs, targets), directory / "expected.safetensors")
    settings = SETTINGS if name in ("base", "start_and_ends") else [SETTINGS[1], SETTINGS[10 + index % 7]]
    expected = {"transformers": transformers.__version__, "inputs": inputs, "targets": targets,
                "generate": generated(model, inputs, settings)}  # fmt: skip
    (directory / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def make_logits(path):
    """Scores before and after transformers' processors and warpers."""
    generator = torch.Generator().manual_seed(7)
    model = make_model(case_config({}), False)
    tokens = [0, 5, 6, 12, 5, 6]
    cases = []
    for setting in PROCESSORS:
        scores = torch.randn(61, generator=generator) * 3
        scores[30:34] = scores[29]  # ties
        config = GenerationConfig(decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, max_length=40, **setting)
        config, _ = model._prepare_generation_config(config)
        model._prepare_special_tokens(config)
        processors = model._get_logits_processor(config, input_ids_seq_length=1)
        processed = processors(torch.tensor([tokens]), scores[None].clone())[0]
        cases.append({"options": {**setting, "max_length": 40}, "tokens": tokens, "scores": scores.tolist(),
                      "processed": [None if value == float("-inf") else value for value in processed.tolist()]})  # fmt: skip
    path.write_text(json.dumps({"transformers": transformers.__version__, "cases": cases}, separators=(",", ":")) + "\n")


def make_buckets(path):
    cases = []
    distances = list(range(-520, 521))
    for bidirectional in (True, False):
        for count, maximum in ((32, 128), (8, 20), (8, 128), (32, 64), (64, 256), (5, 11), (6, 40), (33, 100), (32, 9), (32, 12)):
            buckets = switch.SwitchTransformersAttention._relative_position_bucket(
                torch.tensor(distances), bidirectional=bidirectional, num_buckets=count, max_distance=maximum
            ).tolist()
            runs = []  # [bucket, how many distances in a row]
            for bucket in buckets:
                if runs and runs[-1][0] == bucket:
                    runs[-1][1] += 1
                else:
                    runs.append([bucket, 1])
            cases.append({"bidirectional": bidirectional, "buckets": count, "max_distance": maximum,
                          "first": distances[0], "runs": runs})  # fmt: skip
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "tests" / "data" / "model")
    parser.add_argument("--only", help="make this case alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for index, (name, changes, properties) in enumerate(CASES):
        if arguments.only and arguments.only != name:
            continue
        directory = arguments.output / name
        shutil.rmtree(directory, ignore_errors=True)
        make_case(directory, index, name, changes, properties)
        print(name, sum(file.stat().st_size for file in directory.iterdir()), "bytes")
    if not arguments.only:
        make_logits(arguments.output / "logits.json")
        make_buckets(arguments.output / "buckets.json")


if __name__ == "__main__":
    main()
