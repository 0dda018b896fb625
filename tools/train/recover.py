"""Fine-tunes a pruned model on DialogSum with its zeros kept, and writes it as a Hugging Face directory again.

Every matrix element that is exactly zero counts as pruned and stays zero; everything else is trained.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import sentencepiece
import torch

from batches import BatchSource
from curriculum import Curriculum, Stage
from export import export
from huggingface import from_hugging_face
from model import NoisePool, Pass, SwitchModel
from objective import JITTER, backward
from optimizer import Optimizer
from tasks import TaskMaker


def kept_weights(model: SwitchModel) -> dict[str, torch.Tensor]:
    """For each matrix with pruned elements, one where an element is kept and zero where not."""
    masks = {name: (parameter != 0).float() for name, parameter in model.named_parameters() if parameter.ndim > 1}
    return {name: mask for name, mask in masks.items() if not mask.all()}


PRUNING_RECORD = "flame_pruning.json"
DOCUMENTS = ("README*", "LICENSE*", "NOTICE*")


def keep_documents(source: Path, output: Path, recovery: dict[str, float]) -> None:
    """Copies what a model directory has beside the model, and notes the fine-tuning in the record of its pruning."""
    for pattern in DOCUMENTS:
        for path in source.glob(pattern):
            shutil.copyfile(path, output / path.name)
    if (source / PRUNING_RECORD).exists():
        record = json.loads((source / PRUNING_RECORD).read_text(encoding="utf-8"))
        record["recovery"] = recovery
        (output / PRUNING_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="pruned Hugging Face directory")
    parser.add_argument("--data", type=Path, required=True, help="directory written by prepare_data.py")
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face directory to write")
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--muon-rate", type=float, default=0.002)
    parser.add_argument("--adam-rate", type=float, default=0.0005)
    parser.add_argument("--batch-tokens", type=int, default=8192, help="padded source tokens of a batch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="bfloat16", help="dtype of the activations (weights are float32)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    model = from_hugging_face(arguments.model).to(device)
    masks = kept_weights(model)
    stage = Stage(arguments.steps, {"summarise-train": (1.0, 1.0)}, dropout=0.1, smoothing=0.1, names=0.2)
    curriculum = Curriculum((stage,), warmup_steps=max(1, arguments.steps // 20), decay_steps=arguments.steps)
    tokenizer = arguments.model / "spiece.model"
    maker = TaskMaker(sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)))
    batches = BatchSource(arguments.data, maker, curriculum, arguments.seed, arguments.batch_tokens)
    optimizer = Optimizer(model, arguments.muon_rate, arguments.adam_rate, weight_decay=0.0)
    noise = NoisePool(stage.dropout, JITTER, device, dtype)
    print(f"{len(masks)} pruned matrices (experts of a layer as one), {arguments.steps} steps")

    step = window = 0
    torch.manual_seed(arguments.seed)
    parameters = dict(model.named_parameters())
    while step < arguments.steps:
        likelihood = tokens = 0.0
        for source, target in batches.window(window, step)[:arguments.steps - step]:
            losses = backward(model, source.to(device), target.to(device), stage.smoothing, Pass(dtype, noise))
            optimizer.step(step, curriculum.rate_at(step))
            model.zero_grad(set_to_none=True)
            with torch.no_grad():
                for name, mask in masks.items():
                    parameters[name].mul_(mask)
            likelihood, tokens, step = likelihood + losses.likelihood, tokens + losses.tokens, step + 1
        window += 1
        print(f"step {step}: loss {likelihood / tokens:.3f}", flush=True)
    weights = {name: parameter.detach().cpu() for name, parameter in parameters.items()}
    export(model.shape, weights, tokenizer, arguments.output)
    keep_documents(arguments.model, arguments.output, {
        "steps": arguments.steps, "batch_tokens": arguments.batch_tokens, "muon_rate": arguments.muon_rate,
        "adam_rate": arguments.adam_rate, "seed": arguments.seed})


if __name__ == "__main__":
    main()
