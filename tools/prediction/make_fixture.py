#!/usr/bin/env python3
"""Writes the trace fixtures of tests/routing: random walks with known structure, as the public safetensors library
writes them, and what reference.py counts on them.

    python3 tools/prediction/make_fixture.py tests/data/routing
"""
import pathlib, random, subprocess, sys
import numpy
from safetensors.numpy import save_file

EXPERTS, LAYERS, D_MODEL, VOCABULARY = 5, 3, 4, 50

def stack(rng, examples, shortest, longest, dropped):
    expert, token, number = [], [], []
    for example in range(examples):
        last = 0
        for _ in range(rng.randint(shortest, longest)):
            step = []
            for layer in range(LAYERS):
                # Leans on the expert before, with enough chance for unseen contexts and ties.
                last = (last * 2 + layer) % EXPERTS if rng.random() < 0.6 else rng.randrange(EXPERTS)
                step.append(last)
            expert.append(step), token.append(rng.randrange(VOCABULARY)), number.append(example)
    steps = len(expert)
    tensors = {"experts": numpy.array(expert, numpy.uint8),
               "prob": numpy.array([[rng.random() for _ in range(LAYERS)] for _ in range(steps)], numpy.float16),
               "token": numpy.array(token, numpy.int32), "example": numpy.array(number, numpy.int32)}
    if dropped:
        tensors["dropped"] = numpy.array([[rng.random() < 0.05 for _ in range(LAYERS)] for _ in range(steps)], numpy.uint8)
    return tensors

def write(path, seed, examples):
    rng = random.Random(seed)
    tensors = {f"decoder.{name}": value for name, value in stack(rng, examples, 1, 30, False).items()}
    tensors |= {f"encoder.{name}": value for name, value in stack(rng, examples, 3, 9, True).items()}
    metadata = {"format": "flame-trace", "version": "1", "model": "fixture", "checksum": "0123456789abcdef",
                "data": "random", "decoding": "greedy", "experts": str(EXPERTS), "d_model": str(D_MODEL),
                "vocabulary": str(VOCABULARY)}
    save_file(tensors, path, metadata)

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
write(folder / "profiled.safetensors", 1, 40)
write(folder / "scored.safetensors", 2, 25)
reference = pathlib.Path(__file__).with_name("reference.py")
text = subprocess.run([sys.executable, reference, "--profile", folder / "profiled.safetensors",
                       "--score", folder / "scored.safetensors"], check=True, capture_output=True, text=True).stdout
(folder / "reference.json").write_text(text)
