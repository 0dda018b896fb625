"""Muon for the matrices of the network, Adam for the embedding, norms, biases and routers.

Muon (Jordan et al. 2024) steps along the orthogonalised momentum of each matrix. Matrices of one shape, and the
experts of a layer, are orthogonalised together in one batched product.
"""

from __future__ import annotations

from collections import defaultdict

import torch

from model import SwitchModel

# Coefficients of the quintic Newton-Schulz iteration published with Muon.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Brings the singular values of each [rows, columns] matrix of a batch near one, in bfloat16."""
    x = matrices.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x


class Optimizer:
    """Both update rules, with state kept per parameter name so that checkpoints are plain tensors."""

    def __init__(self, model: SwitchModel, muon_rate: float, adam_rate: float, weight_decay: float):
        self.muon_rate, self.adam_rate, self.weight_decay = muon_rate, adam_rate, weight_decay
        self.muon: dict[tuple[int, int], list[str]] = defaultdict(list)
        self.adam: list[str] = []
        self.parameters = dict(model.named_parameters())
        for name, parameter in self.parameters.items():
            if parameter.ndim < 2 or name.endswith(("embedding", "router", "relative_bias")):
                self.adam.append(name)
            else:
                self.muon[tuple(parameter.shape[-2:])].append(name)
        # Query weights feed a softmax that T5 does not scale by d_kv^-0.5: the step carries that factor instead.
        self.query_scale = model.shape.d_kv**-0.5
        self.state = {f"momentum.{name}": torch.zeros_like(self.parameters[name])
                      for names in (*self.muon.values(), self.adam) for name in names}
        self.state |= {f"variance.{name}": torch.zeros_like(self.parameters[name]) for name in self.adam}

    @torch.no_grad()
    def step(self, step: int, rate: float) -> None:
        """One update with gradients at hand; `step` counts from 0 and `rate` scales both learning rates."""
        for shape, names in self.muon.items():
            self._muon_step(shape, names, rate * self.muon_rate)
        self._adam_step(step, rate * self.adam_rate)

    def _muon_step(self, shape: tuple[int, int], names: list[str], rate: float, beta: float = 0.95) -> None:
        parameters = [self.parameters[name] for name in names]
        gradients = [parameter.grad for parameter in parameters]
        momenta = [self.state[f"momentum.{name}"] for name in names]
        torch._foreach_lerp_(momenta, gradients, 1 - beta)
        directions = torch._foreach_lerp(gradients, momenta, beta)
        stacked = orthogonalise(torch.cat([direction.view(-1, *shape) for direction in directions]))
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        torch._foreach_mul_(parameters, 1 - rate * self.weight_decay)
        start = 0
        for name, parameter in zip(names, parameters):
            count = parameter.numel() // (shape[0] * shape[1])
            factor = scale * (self.query_scale if name.endswith(".q") else 1.0)
            parameter.add_(stacked[start:start + count].view(parameter.shape), alpha=-rate * factor)
            start += count

    def _adam_step(self, step: int, rate: float, betas: tuple[float, float] = (0.9, 0.98)) -> None:
        parameters = [self.parameters[name] for name in self.adam]
        gradients = [parameter.grad for parameter in parameters]
        means = [self.state[f"momentum.{name}"] for name in self.adam]
        variances = [self.state[f"variance.{name}"] for name in self.adam]
        torch._foreach_lerp_(means, gradients, 1 - betas[0])
        torch._foreach_mul_(variances, betas[1])
        torch._foreach_addcmul_(variances, gradients, gradients, 1 - betas[1])
        deviation = torch._foreach_div(variances, 1 - betas[1] ** (step + 1))
        torch._foreach_sqrt_(deviation)
        torch._foreach_add_(deviation, 1e-8)
        torch._foreach_addcdiv_(parameters, means, deviation, -rate / (1 - betas[0] ** (step + 1)))
