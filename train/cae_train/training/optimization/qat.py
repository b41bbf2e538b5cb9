"""Quantization-aware training: simulates the rounding of int8 so that the network adapts to it.

Weights are rounded to 8 bits signed per output channel, activations to 8 bits unsigned per tensor, where the exporter
will round them: the input, and after each convolution (or the ReLU behind it). Sums, of residual blocks and of skips,
stay in float, as does what a depthwise block adds: only the copy of a sum that a convolution reads is rounded. (Files
with channels first, which gray networks have, also round what a depthwise block adds.) The last convolution stays in
float, as it does there, and the exporter measures the ranges anew. Gradients pass straight through
inside the range. Only the forward pass changes: the saved weights are the float ones, while the figures of each epoch
are those of the rounding network. (The final figure on a data set's own test part is measured on model.pt, in float.)

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(CVPR 2018); ranges are moving averages of each batch's extremes, without the rarest values.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch user knows

from cae_train.models.depthwise import DepthwiseBlock
from cae_train.models.skip import Skip
from cae_train.models.skip_blocks import Block, PlainBlock

RANGE_DECAY = 0.98  # decay of the moving averages of the activations' ranges
LEVELS = 255
PAIR = 126  # steps of two neighboring weights together, before rounding adds one to each: 128 x 255 fits 16 bits
SMALLEST = 1e-8  # step of a tensor that is zero throughout
TAIL = 2e-4  # share of the values that is clipped at each end of a range; the exporter clips the same
SAMPLE_SIZE = 65_536  # values of a tensor that its range is measured on
MEASURE_EVERY = 4  # training steps between two measurements


def prepare(network: nn.Module) -> list["ActivationRounding"]:
    """Make a network round its weights and activations as int8 inference will, in place.

    Returns:
        The places where activations are rounded; each is a tensor that the exporter quantizes.
    """
    convolutions = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    first, last = convolutions[0], convolutions[-1]
    rounded_by_relu = {id(m.conv1) for m in network.modules() if isinstance(m, Block)}
    rounded_by_relu |= {id(m.conv2) for m in network.modules() if isinstance(m, PlainBlock)}
    rounded_by_relu |= {id(conv) for m in network.modules() if isinstance(m, DepthwiseBlock) for conv in (m.a, m.d)}
    unrounded = {id(m.b) for m in network.modules() if isinstance(m, DepthwiseBlock)}  # or by the ReLU after them
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            rounded_by_relu |= {id(a) for a, b in pairwise(module) if isinstance(b, (nn.ReLU, nn.Sigmoid))}
    read_sums = {id(module) for module in network.readers_of_sums()} if isinstance(network, Skip) else set()
    read_sums.discard(id(last))
    places = [ActivationRounding()]
    first.register_forward_pre_hook(places[0].on_input)
    for module in network.modules():
        if id(module) in read_sums:
            places.append(ActivationRounding())
            module.register_forward_pre_hook(places[-1].on_input)
        if module is last:
            continue
        if isinstance(module, nn.Conv2d):
            module._conv_forward = _rounding_convolution(module)  # type: ignore[method-assign]
        if isinstance(module, (nn.Conv2d, nn.ReLU)) and id(module) not in rounded_by_relu | unrounded:
            places.append(ActivationRounding())
            module.register_forward_hook(places[-1].on_output)
    return places


class ActivationRounding:
    """Rounds one tensor of the network to 256 steps over its range; measures the range while training."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self.calls = 0

    def state(self) -> list[float]:
        """What has been measured, for a checkpoint."""
        return [self.low, self.high, float(self.calls)]

    def load_state(self, state: Sequence[float]) -> None:
        """The inverse of `state`."""
        self.low, self.high, self.calls = float(state[0]), float(state[1]), int(state[2])

    def on_output(self, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        """A forward hook."""
        return self.round(output, module.training)

    def on_input(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A forward pre-hook."""
        return (self.round(inputs[0], module.training),)

    def round(self, values: Tensor, training: bool) -> Tensor:
        """Clip values to the range, which always holds 0, and round them; their dtype stays."""
        if training:
            if self.calls % MEASURE_EVERY == 0:
                self._measure(values.detach().flatten())
            self.calls += 1
        scale = max((self.high - self.low) / LEVELS, SMALLEST)
        zero = min(max(round(-self.low / scale), 0), LEVELS)
        rounded: Tensor = _StraightThrough.apply(  # type: ignore[no-untyped-call]
            values, -zero * scale, (LEVELS - zero) * scale, scale
        )
        return rounded

    def _measure(self, values: Tensor) -> None:
        sample = values[:: len(values) // SAMPLE_SIZE | 1].float()  # odd: an even step would see few columns only
        beyond = int(TAIL * len(sample)) + 1
        ends = torch.stack([sample.topk(beyond, largest=False).values[-1], sample.topk(beyond).values[-1]])
        if distributed.is_available() and distributed.is_initialized():  # all processes round alike
            distributed.all_reduce(ends)
            ends /= distributed.get_world_size()
        low, high = ends.tolist()
        memory = RANGE_DECAY if self.calls else 0.0
        self.low = self.low * memory + min(low, 0.0) * (1 - memory)
        self.high = self.high * memory + max(high, 0.0) * (1 - memory)


class _StraightThrough(torch.autograd.Function):
    """Clip to low..high and round to multiples of scale; gradients pass inside the range as if nothing was done."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float, scale: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.low, ctx.high = low, high
        return values.clamp(low, high).mul_(1 / scale).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (values,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, values, ctx.low, ctx.high), None, None, None


def steps_of(weight: Tensor, depthwise: bool = False) -> Tensor:
    """The step that the kernels of a convolution are rounded to, one for each O: O x I x H x W -> O x 1 x 1 x 1.

    The largest weight has 127 steps, or fewer where two neighboring weights together would have more than 128. CPUs
    without instructions for int8 add two products of 8 bits in 16 bits and cut off what exceeds them: with that bound
    nothing does, so a file gives the same everywhere. Depthwise kernels are computed in another way and need no bound.
    """
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / (LEVELS // 2)
    if not depthwise:
        line = weight.abs().permute(0, 2, 3, 1).flatten(1)  # as they lie in memory
        line = F.pad(line, (0, line.shape[1] % 2))
        every = 2 if weight.shape[1] % 2 == 0 else 1  # with an odd I pairs may begin anywhere once it is rearranged
        pairs = line[:, :-1:every] + line[:, 1::every]
        largest = torch.maximum(largest, pairs.amax(1).view_as(largest) / PAIR)
    return largest.clamp_min(SMALLEST)


def round_weights(weight: Tensor, steps: Tensor) -> Tensor:
    """The kernels of a convolution on the grid of int8: O x I x H x W in and out; `steps` as `steps_of` gives them.

    Each kernel's sum is kept, to half a step: where rounding to nearest would change it, the values that lose least
    are rounded the other way (the one that sets the scale stays). Activations are smooth, above all the picture that
    the first convolution sees, so what is left of the rounding sums up to little, while nearest rounding shifts flat
    areas with their brightness. (A constraint on the rounding's mean: Nagel et al., "Up or Down?", ICML 2020, section
    3, where the expected input decides.)
    """
    exact = (weight / steps).flatten(2)
    nearest = exact.round()
    if exact.shape[2] == 1:
        return nearest.view_as(weight) * steps
    loss = exact - nearest
    missing = loss.sum(2, keepdim=True).round()
    in_range = (nearest + missing.sign()).abs() <= LEVELS // 2
    sets_the_scale = exact.abs() >= LEVELS // 2 - 1e-3
    movable = torch.where(in_range & ~sets_the_scale, loss * missing.sign(), -1.0)
    rank = movable.argsort(2, descending=True).argsort(2)
    moved = nearest + missing.sign() * ((rank < missing.abs()) & (movable > 0))
    return moved.view_as(weight) * steps


def _rounding_convolution(conv: nn.Conv2d) -> Any:
    depthwise = conv.groups > 1

    def forward(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        exact = weight.detach()
        rounded = weight + (round_weights(exact, steps_of(exact, depthwise)) - exact)
        return F.conv2d(values, rounded, bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    return forward
