#!/usr/bin/env python3
"""Makes random small models with random settings of generate() and compares the flame program with transformers on them, all returned sequences.

    python tools/parity/compare_random.py --count 100 --seed 1

Each model goes through files: config.json, weights in a random form, generation_config.json. Exit status 1 when any output
differs; the directory of a differing model is kept and named.
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

import torch
from make_fixtures import case_config, make_model, randomise, stored_state, write_weights
from reference import DEFAULT_FLAME, check_version, fresh_cache, run_flame
from transformers import GenerationConfig


def random_case(dice):
    """Changes to make_fixtures.SMALL, and how the weights are stored."""
    heads = dice.choice([1, 2, 3, 5])
    buckets = dice.choice([4, 5, 8, 16, 32])
    changes = dict(
        vocab_size=dice.randint(40, 150), d_model=dice.choice([8, 12, 16, 20, 33]), d_kv=dice.choice([1, 3, 4, 8, 16]),
        d_ff=dice.choice([7, 16, 30, 64]), num_heads=heads, num_layers=dice.randint(1, 5),
        num_decoder_layers=dice.randint(1, 5), num_sparse_encoder_layers=dice.randint(0, 5),
        num_sparse_decoder_layers=dice.randint(0, 5), num_experts=dice.choice([1, 2, 3, 8, 16]),
        expert_capacity=dice.choice([1, 2, 5, 64]), relative_attention_num_buckets=buckets,
        relative_attention_max_distance=buckets // 2 + dice.choice([1, 5, 40, 200]),
        dense_act_fn=dice.choice(["relu", "relu", "gelu", "gelu_new", "silu"]), router_bias=dice.random() < 0.3,
        tie_word_embeddings=dice.random() < 0.6, layer_norm_epsilon=dice.choice([1e-6, 1e-5, 1e-3]),
    )  # fmt: skip
    for key in ("encoder_sparse_step", "decoder_sparse_step"):
        if dice.random() < 0.4:
            changes[key] = dice.randint(0, 4)
    properties = dict(form=dice.choice(["safetensors", "bin"]), dtype=dice.choice(["float32", "bfloat16", "float16"]),
                      shards=dice.choice([1, 1, 2, 3]))  # fmt: skip
    return changes, properties


def random_settings(dice, vocabulary):
    settings = dict(decoder_start_token_id=0, pad_token_id=0, max_new_tokens=dice.randint(1, 25),
                    eos_token_id=[1, *dice.sample(range(3, vocabulary), dice.choice([0, 2, 6]))])  # fmt: skip
    if dice.random() < 0.7:
        settings.update(num_beams=dice.randint(2, 6), length_penalty=dice.choice([1.0, 0.0, 0.5, 2.0, -1.0, -12.0]),
                        early_stopping=dice.choice([True, False, "never"]))  # fmt: skip
        settings["num_return_sequences"] = dice.randint(1, settings["num_beams"])
    for key, values in (("min_new_tokens", [2, 7]), ("no_repeat_ngram_size", [1, 2, 3]), ("repetition_penalty", [0.7, 1.5]),
                        ("forced_bos_token_id", [4]), ("forced_eos_token_id", [1])):  # fmt: skip
        if dice.random() < 0.25:
            settings[key] = dice.choice(values)
    return settings


def compare(arguments, directory, number):
    dice = random.Random(arguments.seed * 100_003 + number)
    generator = torch.Generator().manual_seed(arguments.seed * 100_003 + number)
    changes, properties = random_case(dice)
    config = case_config(changes)
    model = make_model(config, False)
    randomise(model, generator)
    write_weights(directory, stored_state(model, properties, generator), properties)
    settings = random_settings(dice, config.vocab_size)
    # Through the files that users have: the class's own form of the config, and the settings.
    (directory / "config.json").write_text(config.to_json_string(use_diff=False))
    model.generation_config = GenerationConfig(**settings)
    (directory / "generation_config.json").write_text(json.dumps(settings))
    inputs = [torch.randint(3, config.vocab_size, (dice.choice([1, 2, 9, 17, 40, 130]),), generator=generator).tolist() + [1]
              for _ in range(3)]  # fmt: skip
    lines = run_flame(arguments.flame, directory, inputs, "--dtype", "f32", "--batch", 3)
    ends = settings["eos_token_id"]
    for ids, line in zip(inputs, lines):
        found = line.get("sequences", [line["tokens"]])
        wanted = model.generate(torch.tensor([ids]), cache=fresh_cache())[:, 1:].tolist()
        wanted = [row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))] for row in wanted]
        if wanted != found:
            print(f"model {number}: {changes} {properties} {settings}\n  transformers {wanted}\n  flame        {found}")
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flame", type=pathlib.Path, default=DEFAULT_FLAME)
    arguments = parser.parse_args()
    check_version()
    torch.set_num_threads(1)
    different = 0
    for number in range(arguments.first, arguments.first + arguments.count):
        directory = pathlib.Path(tempfile.mkdtemp(prefix=f"flame-random-{number}-"))
        if compare(arguments, directory, number):
            shutil.rmtree(directory)
        else:
            different += 1
            print("  kept in", directory)
    print(f"{arguments.count} models, {different} with differing outputs")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
