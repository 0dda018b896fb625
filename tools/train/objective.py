"""What one optimizer step minimises: smoothed cross-entropy, load balance and router z-loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model import Pass, SwitchModel

BALANCE, ROUTER_Z, JITTER = 0.01, 0.001, 0.02


@dataclass(frozen=True)
class StepLosses:
    """Sums and means for the log: negative log likelihood over the target tokens, mean balance loss of the layers."""

    likelihood: float
    tokens: int
    balance: float


def backward(model: SwitchModel, source: torch.Tensor, target: torch.Tensor, smoothing: float, run: Pass) -> StepLosses:
    """Adds the gradients of one batch to the model's."""
    loss, likelihood, tokens = model.loss(source, target, smoothing, run)
    balance = torch.stack(run.routers.balance)
    (loss / tokens + BALANCE * balance.sum() + ROUTER_Z * torch.stack(run.routers.z).sum()).backward()
    return StepLosses(likelihood.item(), tokens, balance.mean().item())
