#!/usr/bin/env python3
"""Speed of the flame program beside transformers on a synthetic model, measured in turns in one run.

    python tools/parity/compare_speed.py                       # switch-base-8, written to a temporary directory
    python tools/parity/compare_speed.py --model DIR --tokens 64 --repeats 5

One prompt of 512 random ids; greedy decoding of a fixed number of tokens at batch 1. Both programs run the same stored
weights on the same number of threads. Encoder seconds are the time until the decoder can start; decoder tokens/s is what
follows. Every round runs flame in bf16 and f32, then transformers in both; medians are printed, and the ratio to the faster
of transformers' types. In f32 both must give the same tokens. Where benchmarks/decode_step has been built, each round also
runs it: the bytes that a token of flame's bf16 decoder reads over the machine's plain reading are the bound of its speed.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from reference import DEFAULT_FLAME, check_version, fresh_cache, load_model, run_flame
from transformers.modeling_outputs import MoEModelOutput

TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def measure_flame(arguments, model, prompt, dtype):
    # The first prompt of a process pays for mapping the weights; transformers' model stays in memory between rounds too.
    line = run_flame(arguments.flame, model, [prompt, prompt], "--dtype", dtype, "--beams", 1, "--max-new-tokens",
                     arguments.tokens, "--min-new-tokens", arguments.tokens, "--threads", arguments.threads,
                     "--skip-weight-check")[1]  # fmt: skip
    stats = line["stats"]
    return stats["encoder_seconds"], arguments.tokens / stats["decoder_seconds"], line["tokens"], stats


def measure_reading(arguments, model):
    """Bytes that a decoder token reads, and bytes a second of plain reading."""
    line = subprocess.run([arguments.bench, model, "1", "--json"], check=True, capture_output=True, text=True).stdout
    measured = json.loads(line)
    return measured["bytes"], measured["read_bytes_per_second"]


@torch.no_grad()
def measure_reference(arguments, model, prompt):
    ids = torch.tensor([prompt])
    begun = time.perf_counter()
    encoded = model.encoder(input_ids=ids).last_hidden_state
    encoder_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    tokens = model.generate(encoder_outputs=MoEModelOutput(last_hidden_state=encoded), attention_mask=torch.ones_like(ids),
                            num_beams=1, max_new_tokens=arguments.tokens, min_new_tokens=arguments.tokens,
                            cache=fresh_cache())[0, 1:].tolist()  # fmt: skip
    return encoder_seconds, arguments.tokens / (time.perf_counter() - begun), tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, help="a checkpoint; without it one is made")
    parser.add_argument("--preset", default="switch-base-8")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--flame", type=pathlib.Path, default=DEFAULT_FLAME)
    parser.add_argument("--bench", type=pathlib.Path, default=DEFAULT_FLAME.parent.parent / "benchmarks" / "decode_step",
                        help="the program that measures the bound; left out where it is not there")  # fmt: skip
    arguments = parser.parse_args()
    check_version()
    torch.set_num_threads(arguments.threads)

    with tempfile.TemporaryDirectory() as directory:
        model = arguments.model
        if model is None:
            model = pathlib.Path(directory) / arguments.preset
            subprocess.run([arguments.flame, "synth", arguments.preset, "-o", model, "--dtype", "bf16", "--seed", "1"],
                           check=True)  # fmt: skip
        vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
        generator = random.Random(1)
        prompt = [generator.randrange(3, vocabulary) for _ in range(arguments.prompt - 1)] + [1]
        references = {name: load_model(model, dtype) for name, dtype in TYPES.items()}

        rows = {}
        tokens = {}
        memory = {}
        reading = []
        for _ in range(arguments.repeats):
            for dtype in TYPES:
                encoder, rate, tokens["flame", dtype], stats = measure_flame(arguments, model, prompt, dtype)
                rows.setdefault(("flame", dtype), []).append((encoder, rate))
                memory[dtype] = stats["peak_memory_bytes"]
            if arguments.bench.exists():
                reading.append(measure_reading(arguments, model))
            for dtype in TYPES:
                encoder, rate, tokens["transformers", dtype] = measure_reference(arguments, references[dtype], prompt)
                rows.setdefault(("transformers", dtype), []).append((encoder, rate))

    print(f"{arguments.prompt} tokens in, {arguments.tokens} out, batch 1, {arguments.threads} threads, "
          f"{arguments.repeats} rounds, medians (least to most)")  # fmt: skip
    median = {}
    for (program, dtype), values in rows.items():
        seconds, rates = zip(*values)
        median[program, dtype] = statistics.median(seconds), statistics.median(rates)
        print(f"  {program:12} {dtype:4}  encoder {statistics.median(seconds):6.3f} s ({min(seconds):.3f} to "
              f"{max(seconds):.3f})  decoder {statistics.median(rates):6.1f} tokens/s ({min(rates):.1f} to "
              f"{max(rates):.1f})")  # fmt: skip
    best_encoder = min(median["transformers", dtype][0] for dtype in TYPES)
    best_rate = max(median["transformers", dtype][1] for dtype in TYPES)
    for dtype in TYPES:
        print(f"  flame {dtype}: encoder {best_encoder / median['flame', dtype][0]:.2f} x, decoder "
              f"{median['flame', dtype][1] / best_rate:.2f} x the faster of transformers' types; "
              f"peak memory {memory[dtype] / 2**20:.0f} MiB")  # fmt: skip
    if reading:
        size, rates = reading[0][0], [rate for _, rate in reading]
        bound = statistics.median(rates) / size
        print(f"  a token reads {size / 1e6:.0f} MB in bf16; plain reading {statistics.median(rates) / 1e9:.1f} GB/s "
              f"({min(rates) / 1e9:.1f} to {max(rates) / 1e9:.1f}): at most {bound:.0f} tokens/s, of which flame reaches "
              f"{median['flame', 'bf16'][1] / bound:.2f}; three times transformers is {3 * best_rate:.0f}")  # fmt: skip
    same = tokens["flame", "f32"] == tokens["transformers", "f32"]
    print(f"  f32 tokens: {'the same' if same else 'DIFFERENT'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
