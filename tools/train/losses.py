"""The training loss of the tied output head, computed in blocks so that the logits never exist all at once."""

from __future__ import annotations

import torch

_BLOCK = 1024


class SmoothedCrossEntropy(torch.autograd.Function):
    """Sums over tokens of (1 - smoothing) * -log p(target) + smoothing * mean over the vocabulary of -log p.

    hidden [tokens, d_model]; embedding [vocabulary, d_model] in the dtype of hidden; target int64 [tokens].
    Returns (loss sum with gradient, plain negative log likelihood sum without), both float32 scalars.
    The gradients are made in the forward pass, block by block, while the logits are at hand.
    """

    @staticmethod
    def forward(ctx, hidden, embedding, target, smoothing):
        vocabulary = embedding.shape[0]
        hidden_gradient = torch.empty_like(hidden)
        embedding_gradient = torch.zeros(embedding.shape, dtype=torch.float32, device=embedding.device)
        loss = hidden.new_zeros((), dtype=torch.float32)
        likelihood = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, hidden.shape[0], _BLOCK):
            block = hidden[start:start + _BLOCK]
            wanted = target[start:start + _BLOCK, None]
            log_probability = torch.log_softmax((block @ embedding.T).float(), dim=-1)
            negative = -log_probability.gather(1, wanted).sum()
            likelihood += negative
            loss += (1 - smoothing) * negative - smoothing / vocabulary * log_probability.sum()
            logit_gradient = log_probability.exp_().sub_(smoothing / vocabulary)
            logit_gradient.scatter_add_(1, wanted, torch.full_like(wanted, smoothing - 1, dtype=torch.float32))
            logit_gradient = logit_gradient.to(hidden.dtype)
            hidden_gradient[start:start + _BLOCK] = logit_gradient @ embedding
            embedding_gradient += logit_gradient.T @ block
        ctx.save_for_backward(hidden_gradient, embedding_gradient.to(embedding.dtype))
        ctx.mark_non_differentiable(likelihood)
        return loss, likelihood

    @staticmethod
    def backward(ctx, gradient, _):
        hidden_gradient, embedding_gradient = ctx.saved_tensors
        return hidden_gradient * gradient, embedding_gradient * gradient, None, None
