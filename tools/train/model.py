"""Switch Transformer for training: the mathematics of Hugging Face's SwitchTransformersForConditionalGeneration.

Experts are stacked into one tensor per layer, only routed experts are computed, padding is never routed and no token
is ever dropped. `export.py` renames the weights to Hugging Face's layout and checks that the logits agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from attention import BiasedAttention, relative_position_buckets
from losses import SmoothedCrossEntropy

PAD, EOS, START = 0, 1, 0
_MASKED = -1e9


@dataclass(frozen=True)
class ModelShape:
    """The dimensions of a model; names as in Hugging Face's SwitchTransformersConfig."""

    vocab_size: int = 4096
    d_model: int = 128
    d_kv: int = 32
    num_heads: int = 4
    d_ff: int = 384
    num_layers: int = 4
    num_decoder_layers: int = 12
    num_experts: int = 8
    sparse_step: int = 2
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6


@dataclass
class RouterRecord:
    """What the MoE layers of one forward pass leave behind, a list entry a layer, the encoder's first.

    balance and z are the auxiliary losses; expert is the chosen expert of every token that is not padding, in order.
    """

    balance: list[torch.Tensor] = field(default_factory=list)
    z: list[torch.Tensor] = field(default_factory=list)
    expert: list[torch.Tensor] = field(default_factory=list)


class NoisePool:
    """Dropout masks and router jitter, cut at random places out of two arrays made once.

    Drawing fresh random numbers took longer on a CPU than all matrix products of a layer. The places come from
    torch's global generator; the arrays depend on nothing but their rates.
    """

    _SIZE = 1 << 22

    def __init__(self, dropout: float, jitter: float, device: torch.device, dtype: torch.dtype):
        generator = torch.Generator().manual_seed(0)
        self.dropout_rate, self.jitter_rate = dropout, jitter
        keep = torch.rand(self._SIZE, generator=generator) >= dropout
        self._masks = (keep / (1 - dropout)).to(device, dtype)
        self._jitters = (1 + jitter * (2 * torch.rand(self._SIZE, generator=generator) - 1)).to(device)

    def _cut(self, pool: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if x.numel() >= self._SIZE:
            raise ValueError(f"a batch with {x.numel():,} activations, but the noise pool holds {self._SIZE:,}: "
                             "take fewer --batch-tokens")
        start = int(torch.randint(self._SIZE - x.numel(), ()))
        return x * pool[start:start + x.numel()].view(x.shape)

    def dropout(self, x: torch.Tensor) -> torch.Tensor:
        """x with elements zeroed at the dropout rate and the others scaled up."""
        return self._cut(self._masks, x) if self.dropout_rate else x

    def jitter(self, x: torch.Tensor) -> torch.Tensor:
        """x times uniform noise around one."""
        return self._cut(self._jitters, x) if self.jitter_rate else x


@dataclass
class Pass:
    """What every layer of one forward pass shares: compute dtype, noise (training only), what the routers record."""

    dtype: torch.dtype = torch.float32
    noise: NoisePool | None = None
    routers: RouterRecord = field(default_factory=RouterRecord)

    def dropout(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout while training, nothing otherwise."""
        return self.noise.dropout(x) if self.noise else x


def weight(rows: int, columns: int, scale: float) -> nn.Parameter:
    """A normally distributed [rows, columns] matrix of standard deviation `scale`."""
    return nn.Parameter(torch.randn(rows, columns) * scale)


def linear(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x @ matrix^T in the dtype of x (weights are kept in float32)."""
    return functional.linear(x, matrix.to(x.dtype))


class _RmsNormFunction(torch.autograd.Function):
    """weight * x / sqrt(mean(x^2) + epsilon) for float32 x, saving x and one number a row.

    PyTorch runs its own as seven operations, twice that backward, on a CPU.
    """

    @staticmethod
    def forward(ctx, x, scale, epsilon, dtype):
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, scale, inverse)
        return (x * inverse).mul_(scale).to(dtype)

    @staticmethod
    def backward(ctx, gradient):
        x, scale, inverse = ctx.saved_tensors
        normed = x * inverse
        gradient = gradient.float()
        product = gradient * normed
        scale_gradient = product.sum(tuple(range(product.ndim - 1)))
        mean = torch.mv(product.view(-1, x.shape[-1]), scale).view(inverse.shape).div_(-x.shape[-1])
        return torch.addcmul(gradient * scale, normed, mean).mul_(inverse), scale_gradient, None, None


class RmsNorm(nn.Module):
    """T5's layer norm: scale only, statistics in float32; the result is in `dtype`."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return _RmsNormFunction.apply(x, self.weight, self.epsilon, dtype)


class Attention(nn.Module):
    """Multi-head attention without biases; self-attention when `memory` is the query input itself."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.heads, self.width = shape.num_heads, shape.d_kv
        inner = shape.num_heads * shape.d_kv
        self.q = weight(inner, shape.d_model, (shape.d_model * shape.d_kv) ** -0.5)
        self.k = weight(inner, shape.d_model, shape.d_model**-0.5)
        self.v = weight(inner, shape.d_model, shape.d_model**-0.5)
        self.o = weight(shape.d_model, inner, 0.5 * inner**-0.5)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.width).transpose(1, 2)

    def forward(self, x, memory, bias, mask) -> torch.Tensor:
        if memory is x:
            q, k, v = linear(x, torch.cat((self.q, self.k, self.v))).chunk(3, dim=-1)
        else:
            q = linear(x, self.q)
            k, v = linear(memory, torch.cat((self.k, self.v))).chunk(2, dim=-1)
        attended = BiasedAttention.apply(self._split(q), self._split(k), self._split(v), bias, mask)
        return linear(attended.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1), self.o)


class DenseFeedForward(nn.Module):
    """wo(relu(wi x))."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.wi = weight(shape.d_ff, shape.d_model, shape.d_model**-0.5)
        self.wo = weight(shape.d_model, shape.d_ff, 0.5 * shape.d_ff**-0.5)

    def forward(self, x, real, run: Pass) -> torch.Tensor:
        return linear(torch.relu(linear(x, self.wi)), self.wo)


class SparseFeedForward(nn.Module):
    """Top-1 mixture of experts: the chosen expert's output times its router probability."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.router = weight(shape.num_experts, shape.d_model, shape.d_model**-0.5)
        self.wi = nn.Parameter(torch.randn(shape.num_experts, shape.d_ff, shape.d_model) * shape.d_model**-0.5)
        self.wo = nn.Parameter(torch.randn(shape.num_experts, shape.d_model, shape.d_ff) * shape.d_ff**-0.5)

    def _route(self, tokens: torch.Tensor, run: Pass) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The chosen expert of each token, its probability, and how many tokens each expert got."""
        inputs = run.noise.jitter(tokens.float()) if run.noise else tokens.float()
        logits = functional.linear(inputs, self.router)
        probabilities = torch.softmax(logits, dim=-1)
        probability, expert = probabilities.max(dim=-1)
        counts = functional.one_hot(expert, logits.shape[-1]).sum(0)
        load = counts.float() / len(tokens)
        run.routers.expert.append(expert)
        run.routers.balance.append(logits.shape[-1] * (load * probabilities.mean(0)).sum())
        run.routers.z.append(torch.logsumexp(logits, dim=-1).square().mean())
        return expert, probability, counts

    def forward(self, x, real, run: Pass) -> torch.Tensor:
        """x [batch, length, d_model]; real: indices of the tokens that are not padding, in the flattened batch."""
        flat = x.reshape(-1, x.shape[-1])
        tokens = flat[real]
        expert, probability, counts = self._route(tokens, run)
        order = torch.argsort(expert, stable=True)
        outputs = self._experts(tokens[order], counts)
        mixed = outputs * probability[order, None].to(x.dtype)
        return torch.zeros_like(flat).index_copy(0, real[order], mixed).view(x.shape)

    def _experts(self, tokens: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """wo(relu(wi x)) of tokens sorted by expert, counts[e] of them for expert e."""
        wi, wo = self.wi.to(tokens.dtype), self.wo.to(tokens.dtype)
        if tokens.is_cuda and tokens.dtype == torch.bfloat16:
            # One launch a matrix, and the counts stay on the device: a loop over 16 experts waits for both.
            ends = counts.cumsum(0, dtype=torch.int32)
            return functional.grouped_mm(torch.relu(functional.grouped_mm(tokens, wi.mT, offs=ends)), wo.mT, offs=ends)
        return torch.cat([functional.linear(torch.relu(functional.linear(part, wi[e])), wo[e])
                          for e, part in enumerate(tokens.split(counts.tolist()))])


class Block(nn.Module):
    """Self-attention, cross-attention in the decoder, feed-forward; each with its norm and residual."""

    def __init__(self, shape: ModelShape, index: int, decoder: bool):
        super().__init__()

        def norm() -> RmsNorm:
            return RmsNorm(shape.d_model, shape.layer_norm_epsilon)

        sparse = shape.sparse_step == 1 or index % shape.sparse_step == 1
        self.self_norm, self.self_attention = norm(), Attention(shape)
        if decoder:
            self.cross_norm, self.cross_attention = norm(), Attention(shape)
        self.feed_norm = norm()
        self.feed = SparseFeedForward(shape) if sparse else DenseFeedForward(shape)
        self.decoder = decoder

    def forward(self, hidden, bias, mask, memory, memory_mask, real, run: Pass) -> torch.Tensor:
        x = self.self_norm(hidden, run.dtype)
        hidden = hidden + run.dropout(self.self_attention(x, x, bias, mask))
        if self.decoder:
            x = self.cross_norm(hidden, run.dtype)
            hidden = hidden + run.dropout(self.cross_attention(x, memory, None, memory_mask))
        x = self.feed_norm(hidden, run.dtype)
        return hidden + run.dropout(self.feed(x, real, run))


class Stack(nn.Module):
    """The encoder or the decoder: blocks that share the first one's relative position bias, and a final norm."""

    def __init__(self, shape: ModelShape, layers: int, decoder: bool):
        super().__init__()
        self.shape, self.decoder = shape, decoder
        self.relative_bias = weight(shape.relative_attention_num_buckets, shape.num_heads, shape.d_model**-0.5)
        self.blocks = nn.ModuleList(Block(shape, i, decoder) for i in range(layers))
        self.final_norm = RmsNorm(shape.d_model, shape.layer_norm_epsilon)

    def forward(self, embedded, padding, memory, memory_padding, run: Pass) -> torch.Tensor:
        """embedded float32 [batch, length, d_model]; paddings bool [batch, length], true where padding."""
        length = embedded.shape[1]
        buckets = relative_position_buckets(length, length, not self.decoder, self.shape.relative_attention_num_buckets,
                                            self.shape.relative_attention_max_distance, embedded.device)
        bias = self.relative_bias[buckets].permute(2, 0, 1).to(run.dtype)
        if self.decoder:
            mask = torch.full((length, length), _MASKED, dtype=run.dtype, device=embedded.device).triu(1)
            memory_mask = memory_padding[:, None, None, :].to(run.dtype) * _MASKED
        else:
            mask, memory_mask = padding[:, None, None, :].to(run.dtype) * _MASKED, None
        real = (~padding).reshape(-1).nonzero().squeeze(1)
        hidden = run.dropout(embedded)
        for block in self.blocks:
            hidden = block(hidden, bias, mask, memory, memory_mask, real, run)
        return run.dropout(self.final_norm(hidden, run.dtype))


class SwitchModel(nn.Module):
    """Encoder, decoder and the embedding they share with the output head."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        self.embedding = weight(shape.vocab_size, shape.d_model, 1.0)
        self.encoder = Stack(shape, shape.num_layers, False)
        self.decoder = Stack(shape, shape.num_decoder_layers, True)

    def hidden(self, source: torch.Tensor, target: torch.Tensor, run: Pass) -> torch.Tensor:
        """The decoder's final states for teacher-forced targets, [batch, target length, d_model] in run.dtype.

        source and target are int64 [batch, length], padded with PAD at the end.
        """
        source_padding = source == PAD
        memory = self.encoder(functional.embedding(source, self.embedding), source_padding, None, None, run)
        inputs = functional.pad(target[:, :-1], (1, 0), value=START)
        states = functional.embedding(inputs, self.embedding)
        return self.decoder(states, target == PAD, memory, source_padding, run)

    def logits(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """float32 logits [batch, target length, vocabulary], for checks."""
        return self.hidden(source, target, Pass()) * self.shape.d_model**-0.5 @ self.embedding.T

    def loss(self, source: torch.Tensor, target: torch.Tensor, smoothing: float,
             run: Pass) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Returns (smoothed loss sum, plain negative log likelihood sum, number of target tokens)."""
        hidden = self.hidden(source, target, run) * self.shape.d_model**-0.5
        real = target != PAD
        wanted = target[real]
        smoothed, likelihood = SmoothedCrossEntropy.apply(hidden[real], self.embedding.to(run.dtype), wanted, smoothing)
        return smoothed, likelihood, wanted.numel()
