"""Generates summaries with transformers, batched by length, and writes JSON lines of id and text."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, SwitchTransformersForConditionalGeneration

from corpora import read_json_lines


@torch.no_grad()
def generate(model: Path, dialogues: list[str], batch: int, **settings) -> list[str]:
    """The generated texts, in the order of the dialogues; settings override the model's generation config."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = SwitchTransformersForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    prefix = network.config.task_specific_params["summarization"]["prefix"]
    sources = [tokenizer(prefix + dialogue).input_ids for dialogue in dialogues]
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    texts = [""] * len(sources)
    for start in range(0, len(order), batch):
        chosen = order[start:start + batch]
        inputs = tokenizer.pad({"input_ids": [sources[index] for index in chosen]}, return_tensors="pt")
        outputs = network.generate(**inputs, **settings)
        for index, text in zip(chosen, tokenizer.batch_decode(outputs, skip_special_tokens=True)):
            texts[index] = text
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="Hugging Face directory")
    parser.add_argument("--input", type=Path, required=True, help="JSON lines with id and dialogue")
    parser.add_argument("--output", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--limit", type=int, help="only the first so many examples")
    parser.add_argument("--batch", type=int, default=25, help="examples a batch (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.add_argument_group("generation settings other than the model's own")
    settings.add_argument("--num-beams", type=int)
    settings.add_argument("--min-length", type=int)
    settings.add_argument("--length-penalty", type=float)
    settings.add_argument("--no-repeat-ngram-size", type=int)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    examples = list(read_json_lines(arguments.input))[:arguments.limit]
    chosen = {name: value for name in ("num_beams", "min_length", "length_penalty", "no_repeat_ngram_size")
              if (value := getattr(arguments, name)) is not None}
    started = time.monotonic()
    texts = generate(arguments.model, [example["dialogue"] for example in examples], arguments.batch, **chosen)
    with arguments.output.open("w", encoding="utf-8") as file:
        for example, text in zip(examples, texts):
            file.write(json.dumps({"id": example["id"], "text": text}, ensure_ascii=False) + "\n")
    print(f"{len(texts)} summaries in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
