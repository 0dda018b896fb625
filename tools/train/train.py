"""Trains a Switch Transformer by a curriculum; stops and goes on anywhere with the same result.

    python train.py --data ~/flame-training/data --tokenizer ~/flame-training/spiece.model \
        --folder ~/flame-training/switch-8 --seconds 540

Started again with the same arguments it continues from the last checkpoint, until the curriculum ends. Under torchrun
the processes share each step's batches; on a CPU one single-threaded process a core is far faster than one process
with many threads (README.md).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import distributed

import checkpoint
from batches import BatchSource, PairedDocuments, cut
from curriculum import Curriculum
from model import ModelShape, NoisePool, Pass, SwitchModel
from objective import JITTER, backward
from optimizer import Optimizer
from tasks import TaskMaker

AVERAGE = 0.998  # decay per step of the averaged weights


class Trainer:
    """The model, its averaged weights, the optimizer and the position in the curriculum."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.device, self.dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
        self.curriculum = Curriculum.load(arguments.curriculum)
        maker = TaskMaker(sentencepiece.SentencePieceProcessor(model_file=str(arguments.tokenizer)))
        self.batches = BatchSource(arguments.data, maker, self.curriculum, arguments.seed, arguments.batch_tokens)
        self.held_out = self._held_out(arguments.data, maker)
        torch.manual_seed(arguments.seed)
        self.model = SwitchModel(self._shape()).to(self.device)
        self.optimizer = Optimizer(self.model, arguments.muon_rate, arguments.adam_rate, arguments.weight_decay)
        self.averaged = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        self.step = self.window = 0
        self.rank, self.ranks = 0, 1
        if distributed.is_initialized():
            self.rank, self.ranks = distributed.get_rank(), distributed.get_world_size()
        self.checkpoint = arguments.folder / "checkpoint"
        if checkpoint.exists(self.checkpoint):
            self._restore()

    def _shape(self) -> ModelShape:
        path = self.arguments.folder / "shape.json"
        if not path.exists():
            shape = {name: getattr(self.arguments, name) for name in
                     ("d_model", "d_kv", "num_heads", "d_ff", "num_layers", "num_decoder_layers", "num_experts")}
            path.write_text(json.dumps(dataclasses.asdict(ModelShape(**shape)), indent=2), encoding="utf-8")
        return ModelShape(**json.loads(path.read_text(encoding="utf-8")))

    @staticmethod
    def _held_out(folder: Path, maker: TaskMaker) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """DialogSum's dev set as batches."""
        pairs = PairedDocuments(folder, "dev")
        return cut([maker.summarise(np.random.default_rng(0), pairs.dialogues.text(i), pairs.summaries.text(i), 0.0)
                    for i in range(len(pairs.dialogues))], budget=8192)

    def _restore(self) -> None:
        tensors, state = checkpoint.load(self.checkpoint)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
                self.averaged[name].copy_(tensors[f"averaged.{name}"])
            for name, tensor in self.optimizer.state.items():
                tensor.copy_(tensors[f"optimizer.{name}"])
        self.step, self.window = state["step"], state["window"]
        self.batches.drawn = Counter(state["drawn"])

    def save(self) -> None:
        """Writes the checkpoint; called between windows only, so that the position is just a few numbers."""
        tensors = {f"model.{name}": parameter for name, parameter in self.model.named_parameters()}
        tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state.items()}
        checkpoint.save(self.checkpoint, tensors,
                        {"step": self.step, "window": self.window, "drawn": dict(self.batches.drawn)})

    def train_window(self) -> dict[str, float]:
        """Trains on one window of batches; returns its mean losses and speed."""
        started = time.monotonic()
        totals: Counter[str] = Counter()
        stage, _ = self.curriculum.stage_at(self.step)
        noise = NoisePool(stage.dropout, JITTER, self.device, self.dtype)
        batches = self.batches.window(self.window, self.step)
        for first in range(0, len(batches) - self.ranks + 1, self.ranks):
            source, target = batches[first + self.rank]
            torch.manual_seed((self.arguments.seed * 1_000_003 + self.step) * self.ranks + self.rank)
            losses = backward(self.model, source.to(self.device), target.to(self.device), stage.smoothing,
                              Pass(self.dtype, noise))
            self._share_gradients()
            self.optimizer.step(self.step, self.curriculum.rate_at(self.step))
            self.model.zero_grad(set_to_none=True)
            torch._foreach_lerp_(list(self.averaged.values()), list(self.model.parameters()),
                                 max(1 - AVERAGE, 10 / (self.step + 10)))
            self.step += 1
            totals += Counter(steps=1, examples=len(source), padded=source.numel(), tokens=losses.tokens,
                              loss=losses.likelihood, balance=losses.balance)
        self.window += 1
        seconds = time.monotonic() - started
        speed = {f"{unit}_per_second": totals[unit] * self.ranks / seconds for unit in ("examples", "padded")}
        return {"step": self.step, "window": self.window, "loss": totals["loss"] / totals["tokens"],
                "balance": totals["balance"] / totals["steps"], "rate": self.curriculum.rate_at(self.step),
                "steps_per_second": totals["steps"] / seconds, **speed}

    def _share_gradients(self) -> None:
        """Replaces every gradient by its mean over the processes."""
        if self.ranks == 1:
            return
        gradients = [parameter.grad for parameter in self.model.parameters()]
        flat = torch.cat([gradient.view(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.ranks
        for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(mean.view(gradient.shape))

    def first_process_wishes(self, wish: bool) -> bool:
        """Whether the first process wishes it: all must stop after the same window."""
        if self.ranks == 1:
            return wish
        decision = torch.tensor([int(wish)], device=self.device)
        distributed.broadcast(decision, src=0)
        return bool(decision.item())

    @torch.no_grad()
    def evaluate(self) -> float:
        """Negative log likelihood per token of the averaged weights on the dev set."""
        model = SwitchModel(self.model.shape).to(self.device)
        model.load_state_dict(self.averaged)
        total = tokens = 0.0
        for source, target in self.held_out:
            _, likelihood, count = model.loss(source.to(self.device), target.to(self.device), 0.0, Pass(self.dtype))
            total, tokens = total + likelihood.item(), tokens + count
        return total / tokens


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory written by prepare_data.py")
    parser.add_argument("--tokenizer", type=Path, required=True, help="spiece.model")
    parser.add_argument("--folder", type=Path, required=True, help="directory of this run: checkpoint, log, shape")
    parser.add_argument("--curriculum", type=Path, default=Path(__file__).with_name("curriculum-8.json"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop with a checkpoint after this time")
    parser.add_argument("--save-windows", type=int, default=8, help="windows between checkpoints")
    parser.add_argument("--evaluate-windows", type=int, default=16, help="windows between dev losses")
    parser.add_argument("--batch-tokens", type=int, default=8192, help="padded source tokens of a batch")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=0.005)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="bfloat16", help="dtype of the activations (weights are float32)")
    parser.add_argument("--threads", type=int, default=1)
    shape = parser.add_argument_group("shape of a new run")
    for name, default in (("d_model", 160), ("d_kv", 32), ("num_heads", 4), ("d_ff", 256), ("num_layers", 4),
                          ("num_decoder_layers", 12), ("num_experts", 8)):
        shape.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="default: %(default)s")
    return parser.parse_args()


def train(arguments: argparse.Namespace) -> None:
    """Trains until the curriculum or the time is over; the first process keeps the log and the checkpoints."""
    deadline = time.monotonic() + arguments.seconds
    trainer = Trainer(arguments)
    with (arguments.folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while trainer.step < trainer.curriculum.steps and not trainer.first_process_wishes(time.monotonic() > deadline):
            entry = trainer.train_window()
            if trainer.rank > 0:
                continue
            if trainer.window % arguments.evaluate_windows == 0:
                entry["dev"] = trainer.evaluate()
            if trainer.window % arguments.save_windows == 0:
                trainer.save()
            log.write(json.dumps(entry) + "\n")
            log.flush()
            print(" ".join(f"{key}={value:.4g}" for key, value in entry.items()), flush=True)
    if trainer.rank == 0:
        trainer.save()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if distributed.is_torchelastic_launched():
        distributed.init_process_group("nccl" if arguments.device == "cuda" else "gloo")
    train(arguments)
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
