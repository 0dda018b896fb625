"""Records every routing decision of a model on dialogues and the summaries it generated for them.

Decoding is repeated with the generated text as the forced target, which routes as the decoding itself did. Writes one
.npz: for the encoder and the decoder, experts [tokens, layers], token ids, positions and example numbers [tokens].
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from batches import pad
from corpora import read_json_lines
from huggingface import from_hugging_face
from model import EOS, START, Pass
from score import read_texts


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="Hugging Face directory")
    parser.add_argument("--input", type=Path, required=True, help="JSON lines with a dialogue field")
    parser.add_argument("--predictions", type=Path, required=True, help="JSON lines with a text field")
    parser.add_argument("--output", type=Path, required=True, help=".npz to write")
    arguments = parser.parse_args()

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(arguments.model / "spiece.model"))
    model = from_hugging_face(arguments.model)
    layers = model.shape.num_layers // model.shape.sparse_step
    columns = {f"{stack}_{name}": [] for stack in ("encoder", "decoder")
               for name in ("experts", "token", "position", "example")}
    texts = read_texts(arguments.predictions)
    for number, (example, text) in enumerate(zip(read_json_lines(arguments.input), texts)):
        source = pieces.encode("summarize: " + example["dialogue"]) + [EOS]
        target = pieces.encode(text) + [EOS]
        run = Pass()
        model.hidden(pad([source], 1), pad([target], 1), run)
        experts = run.routers.expert
        for stack, chosen, tokens in (("encoder", experts[:layers], source),
                                      ("decoder", experts[layers:], [START, *target[:-1]])):
            columns[f"{stack}_experts"].append(torch.stack(chosen, dim=1).numpy().astype(np.int16))
            columns[f"{stack}_token"].append(np.asarray(tokens))
            columns[f"{stack}_position"].append(np.arange(len(tokens)))
            columns[f"{stack}_example"].append(np.full(len(tokens), number))
    np.savez(arguments.output, num_experts=model.shape.num_experts,
             **{name: np.concatenate(parts) for name, parts in columns.items()})


if __name__ == "__main__":
    main()
