"""T5 attention with a learnt additive bias, written as one autograd function that saves only the probabilities.

PyTorch's fused attention gives no gradient for the bias, and the plain formula keeps several arrays of the size of the
scores alive; on a CPU the traffic of those arrays costs more than the products.
"""

from __future__ import annotations

import math

import torch


class BiasedAttention(torch.autograd.Function):
    """softmax(q k^T + bias + mask) v, without the 1/sqrt(d) scaling that T5 leaves out.

    q [batch, heads, queries, width]; k and v [batch, heads, keys, width]; bias [heads, queries, keys] or None;
    mask, added to the scores, broadcasts to [batch, heads, queries, keys] and has no gradient.
    """

    @staticmethod
    def forward(ctx, q, k, v, bias, mask):
        scores = q @ k.transpose(-1, -2)
        if bias is not None:
            scores += bias
        scores += mask
        probabilities = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(q, k, v, probabilities)
        ctx.has_bias = bias is not None
        return probabilities @ v

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, probabilities = ctx.saved_tensors
        value_gradient = probabilities.transpose(-1, -2) @ gradient
        score_gradient = gradient @ v.transpose(-1, -2)
        score_gradient = torch._softmax_backward_data(score_gradient, probabilities, -1, probabilities.dtype)
        bias_gradient = score_gradient.sum(0) if ctx.has_bias else None
        return (score_gradient @ k, score_gradient.transpose(-1, -2) @ q, value_gradient, bias_gradient, None)


def relative_position_buckets(queries: int, keys: int, bidirectional: bool, buckets: int, max_distance: int,
                              device: torch.device) -> torch.Tensor:
    """T5's bucket of every (query, key) pair, int64 [queries, keys]."""
    distance = torch.arange(keys, device=device)[None, :] - torch.arange(queries, device=device)[:, None]
    offset = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    # The logarithm in float32 as in the reference: a float64 one falls on other sides of the bucket borders.
    octaves = torch.log(distance.float() / exact) / math.log(max_distance / exact)
    logarithmic = exact + (octaves * (buckets - exact)).long()
    return offset + torch.where(distance < exact, distance, logarithmic.clamp(max=buckets - 1))
