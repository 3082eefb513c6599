"""Small networks of every kind the rules know, each with its groups worked out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A network, the shape of one batch of inputs, and the sizes of the groups it must have."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    sizes: list[int]
    tokens: int = 0
    why: str = ""
    """What the reason of some frozen dimension must say."""

    def inputs(self) -> tuple[Tensor, ...]:
        if self.tokens:
            return (torch.arange(torch.Size(self.shape).numel()).reshape(self.shape) % self.tokens,)
        return (torch.linspace(-1, 1, torch.Size(self.shape).numel()).reshape(self.shape),)


class Function(nn.Module):
    """Named layers and a forward pass written as a function of them."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._forward(self, *inputs)


class Tied(nn.Module):
    """A token model whose output matrix is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, 5)
        self.back = nn.Linear(5, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.head(x + self.back(torch.relu(self.hidden(x))))


class OptionA(nn.Module):
    """A residual block that doubles its channels by padding zeros on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        out = self.conv2(torch.relu(self.bn1(self.conv1(x))))
        out = torch.relu(out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        return self.head(out.mean((2, 3)))


class Recurrent(nn.Module):
    """A recurrent layer over rows, its last step read out."""

    def __init__(self, kind: type[nn.RNNBase], final: bool = False, **options: object) -> None:
        super().__init__()
        self.rnn = kind(3, 5, batch_first=True, **options)
        out = (options.get("proj_size") or 5) * (2 if options.get("bidirectional") else 1)
        self.final = final
        self.head = nn.Linear(out, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.rnn(x)
        if self.final:
            return self.head((state[0] if isinstance(state, tuple) else state)[-1])
        return self.head(out[:, -1])


class Attention(nn.Module):
    """One pre-norm attention block between embeddings and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.norm = nn.LayerNorm(8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norm(x)
        q, k, v = (part(y).unflatten(-1, (2, 4)).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        return self.head((x + self.out(attended)).mean(1))


class Encoder(nn.Module):
    """torch's own encoder layer: fused projections, post-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 10, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class GroupedQueries(nn.Module):
    """Six query heads that share three key/value heads, two each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 5)
        self.query, self.key, self.value = nn.Linear(5, 24), nn.Linear(5, 12), nn.Linear(5, 12)
        self.out, self.head = nn.Linear(24, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q = self.query(x).unflatten(-1, (6, 4)).transpose(1, 2)
        k, v = (part(x).unflatten(-1, (3, 4)).transpose(1, 2) for part in (self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(-2)
        return self.head((x + self.out(attended)).mean(1))


class HeadsFirst(nn.Module):
    """Projections of shape [heads, head_dim, d], multiplied by einsum: heads and their insides are two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 6)
        self.query, self.key, self.value = (nn.Parameter(torch.randn(2, 4, 6)) for _ in range(3))
        self.out, self.head = nn.Parameter(torch.randn(6, 8)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.query, self.key, self.value))
        weights = torch.einsum("biph,biqh->bipq", q, k).softmax(-1)
        mixed = torch.einsum("bipq,biqh->bpih", weights, v).flatten(2)
        return self.head((x + torch.einsum("df,bpf->bpd", self.out, mixed)).mean(1))


class NormedHeads(Attention):
    """Queries and keys normalised by one LayerNorm for all heads: it holds the inner axis without the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (part(x).unflatten(-1, (2, 4)).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(self.inner(q), self.inner(k), v).transpose(1, 2).flatten(-2)
        return self.head((self.norm(x) + self.out(attended)).mean(1))


class CrossedHeads(Attention):
    """Every query head meets every key head: what lies inside cannot differ from head to head."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x))
        q, k, v = (part(x).unflatten(-1, (2, 4)) for part in (self.query, self.key, self.value))
        scores = torch.tanh(q @ k.transpose(-1, -2))  # heads x heads, at every position
        return self.head((x + self.out((scores @ v).flatten(-2))).mean(1))


def chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: copy.deepcopy(nn.Sequential(*layers))


def conv_net(middle: Callable[[], nn.Module], channels: int = 6) -> Callable[[], nn.Module]:
    """Two convolutions with something in between, averaged into a head."""
    return lambda: nn.Sequential(
        nn.Conv2d(2, channels, 3, padding=1), middle(), nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
    )


def two_branches(net: Function, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.relu(torch.cat([net.left(x), net.right(x)], 1)).mean((2, 3)))


def split_in_two(net: Function, x: Tensor) -> Tensor:
    left, right = net.stem(x).chunk(2, 1)
    return net.head(left * torch.sigmoid(right))


def reused(net: Function, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.relu(net.again(torch.relu(net.again(x)))))


def single_out(net: Function, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(x) + x[:, 2:3]


def unknown_op(net: Function, x: Tensor) -> Tensor:
    return net.head(torch.fft.fft(torch.relu(net.stem(x))).abs() * torch.cummax(net.other(x), 1).values)


def swapped(net: Function, x: Tensor) -> Tensor:
    """Halves change places after a group norm: groups of the first half are not those of the second."""
    first, second = F.group_norm(net.stem(x), 4).chunk(2, 1)
    return net.head(torch.cat([second, first], 1))


def outer_product(net: Function, x: Tensor) -> Tensor:
    h = net.stem(x)
    return net.head((h[:, :, None] * h[:, None]).flatten(1))


def written_in_place(net: Function, x: Tensor) -> Tensor:
    held = x.new_zeros(x.shape[0], 6)
    held[:, :4] = net.left(x)
    held.view(-1, 6)[:, 4:].add_(net.right(x))
    return net.head(torch.relu(held))


def two_reshapes(net: Function, x: Tensor) -> Tensor:
    h = net.stem(x)
    first, second = h.split([16, 8], 1)
    one = torch.cat([second, first], 1).reshape(-1, 8, 3) * net.one
    two = h.reshape(-1, 12, 2) * net.two
    return net.head(torch.cat([one.flatten(1), two.flatten(1)], 1))


def gathered(net: Function, x: Tensor) -> Tensor:
    """Rows are chosen by number, the units of both sides stay one."""
    hidden = net.stem(x)
    order = torch.zeros(1, 1, dtype=torch.long).expand(3, hidden.shape[1])
    return net.head(hidden.gather(0, order).sin())


def rotated(net: Function, x: Tensor) -> Tensor:
    """Units that are multiplied with the cosine of their place stay; those of the other layer do not."""
    angles = torch.arange(5).float().cos()
    return net.head(net.stem(x) * angles) + net.last(net.other(x).cos())


def larger_of_two(net: Function, x: Tensor) -> Tensor:
    return net.head(torch.max(net.stem(x), net.other(x)))


def padded_head(net: Function, x: Tensor) -> Tensor:
    """Outputs beyond the classes are cut off, as with a padded vocabulary."""
    return net.head(torch.relu(net.stem(x)))[:, :2]


def made_inside(net: Function, x: Tensor) -> Tensor:
    return net.head(net.stem(x) + torch.ones(7)) + torch.zeros(2)


class HandNorm(nn.Module):
    """A normalisation written by hand, its statistics buffers under names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)
        self.register_buffer("centre", torch.zeros(6))
        self.register_buffer("spread", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.second((self.first(x) - self.centre) / torch.sqrt(self.spread))


class LearnedStart(nn.Module):
    """A GRU whose initial state is a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(2, 1, 5))
        self.rnn, self.head = nn.GRU(3, 5, 2, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x, self.start.expand(-1, x.shape[0], -1).contiguous())[0][:, -1])


CASES: dict[str, Case] = {
    "mlp": Case(chain(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3)), (2, 6), [8, 7]),
    "no bias": Case(chain(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)), (2, 6), [8]),
    "flatten": Case(chain(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 3)), (2, 2, 6, 6), [5]),
    "batch norm": Case(conv_net(lambda: nn.BatchNorm2d(6)), (2, 2, 6, 6), [6, 4]),
    "group norm": Case(conv_net(lambda: nn.GroupNorm(2, 6)), (2, 2, 6, 6), [2, 3, 4]),
    "instance norm": Case(conv_net(lambda: nn.InstanceNorm2d(6, affine=True)), (2, 2, 6, 6), [6, 4]),
    "layer norm": Case(chain(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)), (2, 6), [8]),
    "rms norm": Case(chain(nn.Linear(6, 8), nn.RMSNorm(8), nn.SiLU(), nn.Linear(8, 3)), (2, 6), [8]),
    "prelu": Case(conv_net(lambda: nn.PReLU(6)), (2, 2, 6, 6), [6, 4]),
    "depthwise": Case(conv_net(lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6)), (2, 2, 6, 6), [6, 4]),
    "grouped": Case(conv_net(lambda: nn.Conv2d(6, 6, 3, padding=1, groups=2)), (2, 2, 6, 6), [2, 3, 3, 4]),
    "transposed": Case(conv_net(lambda: nn.ConvTranspose2d(6, 6, 3, padding=1)), (2, 2, 6, 6), [6, 6, 4]),
    "1-d": Case(
        chain(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 3)), (2, 2, 8), [5]
    ),
    "concatenation": Case(
        lambda: Function(
            two_branches,
            stem=nn.Conv2d(1, 4, 3),
            left=nn.Conv2d(4, 3, 1),
            right=nn.Conv2d(4, 5, 1),
            head=nn.Linear(8, 2),
        ),
        (2, 1, 6, 6),
        [4, 3, 5],
    ),
    "split": Case(lambda: Function(split_in_two, stem=nn.Linear(6, 10), head=nn.Linear(5, 2)), (2, 6), [5]),
    "used twice": Case(
        lambda: Function(reused, stem=nn.Linear(6, 5), again=nn.Linear(5, 5), head=nn.Linear(5, 2)), (2, 6), [5]
    ),
    "one singled out": Case(lambda: Function(single_out, stem=nn.Linear(6, 5), head=nn.Linear(5, 2)), (2, 6), [2, 2]),
    "unknown op": Case(
        lambda: Function(unknown_op, stem=nn.Linear(6, 5), other=nn.Linear(6, 5), head=nn.Linear(5, 2)), (2, 6), []
    ),
    "option A": Case(OptionA, (2, 1, 8, 8), [4, 4, 8]),
    "swapped halves": Case(lambda: Function(swapped, stem=nn.Linear(5, 8), head=nn.Linear(8, 3)), (2, 5), [2, 2, 2]),
    "outer product": Case(lambda: Function(outer_product, stem=nn.Linear(5, 4), head=nn.Linear(16, 3)), (2, 5), []),
    "written in place": Case(
        lambda: Function(written_in_place, left=nn.Linear(5, 4), right=nn.Linear(5, 2), head=nn.Linear(6, 3)),
        (2, 5),
        [4, 2],
    ),
    "larger of two": Case(
        lambda: Function(larger_of_two, stem=nn.Linear(5, 6), other=nn.Linear(5, 6), head=nn.Linear(6, 3)), (2, 5), [6]
    ),
    "padded head": Case(lambda: Function(padded_head, stem=nn.Linear(5, 6), head=nn.Linear(6, 4)), (2, 5), [6, 2]),
    "made inside": Case(lambda: Function(made_inside, stem=nn.Linear(5, 7), head=nn.Linear(7, 2)), (2, 5), [7]),
    "hand-written norm": Case(HandNorm, (3, 4), [6]),
    "learned start": Case(LearnedStart, (2, 4, 3), [5]),
    "tied embedding": Case(Tied, (2, 4), [6, 5], tokens=11),
    "rnn": Case(lambda: Recurrent(nn.RNN), (2, 4, 3), [5]),
    "gru": Case(lambda: Recurrent(nn.GRU, num_layers=2), (2, 4, 3), [5, 5]),
    "lstm": Case(lambda: Recurrent(nn.LSTM, num_layers=2), (2, 4, 3), [5, 5]),
    "lstm, final state": Case(lambda: Recurrent(nn.LSTM, final=True, num_layers=2), (2, 4, 3), [5, 5]),
    "lstm, projected": Case(lambda: Recurrent(nn.LSTM, proj_size=4), (2, 4, 3), [5, 4]),
    "gru, bidirectional": Case(lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True), (2, 4, 3), [5, 5, 5, 5]),
    "attention": Case(Attention, (2, 4, 3), [8, 2, 4, 4]),
    "fused attention": Case(Encoder, (2, 4, 3), [8, 2, 4, 4, 10]),
    "grouped queries": Case(GroupedQueries, (2, 4, 3), [5, 3, 2, 4, 4]),
    "heads first": Case(HeadsFirst, (2, 4, 3), [6, 2, 4, 4]),
    "normed heads": Case(NormedHeads, (2, 4, 3), [8, 2, 4, 4]),
    "gathered": Case(lambda: Function(gathered, stem=nn.Linear(6, 5), head=nn.Linear(5, 2)), (3, 6), [5]),
    "rotated": Case(
        lambda: Function(
            rotated, stem=nn.Linear(6, 5), head=nn.Linear(5, 2), other=nn.Linear(6, 7), last=nn.Linear(7, 2)
        ),
        (3, 6),
        [7],
    ),
    "crossed heads": Case(CrossedHeads, (2, 4, 3), [8, 2, 2, 4, 4]),
}
