"""Linear layers of fixed weights, laid out for the processor once: what the engine's passes are made of.

S tokens, K width that comes in, N width that goes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Activation",
    "Int8Linear",
    "Int8Range",
    "Int8Weight",
    "LinearKernel",
    "PackedLinear",
    "PlainLinear",
    "float_linear",
    "int8_is_supported",
]

Activation = Literal["none", "gelu", "gelu_tanh", "relu"]
"""What follows a product, by the names of `EncoderConfig.hidden_act`."""

# Name and algorithm of the activations, as oneDNN's operators of PyTorch want them.
_ONEDNN: dict[Activation, tuple[str, str]] = {
    "none": ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


class LinearKernel(Protocol):
    """A linear layer, its activation included."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, [S, N], of [S, K]."""

    def added(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """Return the layer's output plus `residual`, [S, N]; for layers without an activation."""


class PlainLinear:
    """PyTorch's own product, for devices and types that have no layout of their own.

    Args:
        weight: [N, K].
        bias: [N].
        dtype: of the product.
        activation: what follows it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: Activation) -> None:
        self.weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.activation = activation

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return [S, N]."""
        outputs = F.linear(inputs, self.weight, self.bias)
        if self.activation == "none":
            return outputs
        if self.activation == "relu":
            return F.relu(outputs)
        return F.gelu(outputs, approximate="tanh" if self.activation == "gelu_tanh" else "none")

    def added(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """Return [S, N]."""
        return residual + F.linear(inputs, self.weight, self.bias)


class PackedLinear:
    """oneDNN's product with weights in its own layout, and activation or residual sum in the same call.

    Args:
        weight: [N, K].
        bias: [N].
        dtype: of weights, inputs and outputs: float32 or bfloat16.
        activation: what follows the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: Activation) -> None:
        whole = weight.detach().to(dtype).contiguous()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(whole)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self._after, self._algorithm = _ONEDNN[activation]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return [S, N]."""
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs, self.weight, self.bias, self._after, [], self._algorithm
        )
        return outputs

    def added(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """Return [S, N]."""
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, residual, self.weight, self.bias, "add")
        return outputs


def float_linear(
    weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: Activation = "none"
) -> LinearKernel:
    """Return the layer in the best form that this device has for it."""
    packs = weight.device.type == "cpu" and _has_onednn() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if packs and dtype == torch.bfloat16:
        packs = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return (PackedLinear if packs else PlainLinear)(weight, bias, dtype, activation)


@dataclass(frozen=True, slots=True)
class Int8Range:
    """How the inputs of a layer become whole numbers from 0 to 255.

    The inputs are divided by a number a channel, which takes the difference between channels off them and puts it into
    the weights, where every row has its own scale anyway (Xiao et al. 2023, arXiv:2211.10438, section 4), and then by
    one number, rounded and cut. Passes that share weights share the channels' numbers and differ in the other.
    """

    channels: Tensor
    """[K] or [1] float32."""
    size: float
    """What a whole number stands for."""
    zero: int
    """The whole number that stands for 0."""

    def quantizer(self) -> Callable[[Tensor], Tensor]:
        """Return what turns inputs, [S, K], into uint8."""
        steps = 1.0 / (self.channels * self.size)
        zero = steps.new_full((1,), self.zero)

        def quantized(inputs: Tensor) -> Tensor:
            return torch.addcmul(zero, inputs, steps).round_().clamp_(0, 255).to(torch.uint8)

        return quantized


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """A weight matrix in int8 with a scale a row, laid out once for all layers that use it."""

    packed: Tensor
    scales: Tensor
    """[N] float32."""
    zeros: Tensor
    """[N] int64, all 0."""
    bias: Tensor
    """[N] float32."""

    @staticmethod
    def of(weight: Tensor, bias: Tensor, channels: Tensor) -> Int8Weight:
        """Round a matrix, [N, K], for inputs that were divided by `channels`, [K] or [1]."""
        whole = weight.detach().float() * channels
        scales = whole.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        rounded = (whole / scales.unsqueeze(1)).round().clamp(-127, 127).to(torch.int8)
        return Int8Weight(
            packed=torch.ops.onednn.qlinear_prepack(rounded, None),
            scales=scales,
            zeros=torch.zeros(len(scales), dtype=torch.int64),
            bias=bias.detach().float(),
        )


class Int8Linear:
    """A product of uint8 inputs and int8 weights, summed in int32; oneDNN's.

    Args:
        weight: rounded for the inputs' channels.
        inputs: what inputs become; those that are uint8 already are taken as such.
        dtype: of the outputs.
        activation: what follows the product.
        outputs: makes the outputs uint8 for a layer that takes them so; all channels alike.
    """

    def __init__(
        self,
        weight: Int8Weight,
        inputs: Int8Range,
        dtype: torch.dtype,
        activation: Activation = "none",
        outputs: Int8Range | None = None,
    ) -> None:
        self.weight = weight
        self.inputs = inputs
        self._quantized = inputs.quantizer()
        self.dtype = torch.uint8 if outputs is not None else dtype
        self._after, self._algorithm = _ONEDNN[activation]
        self._scale, self._zero = (1.0, 0) if outputs is None else (outputs.size, outputs.zero)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return [S, N]."""
        outputs: Tensor = torch.ops.onednn.qlinear_pointwise(
            *self._product(inputs), self.weight.bias,
            self._scale, self._zero, self.dtype, self._after, [], self._algorithm,
        )  # fmt: skip
        return outputs

    def added(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """Return [S, N]."""
        outputs: Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            *self._product(inputs), residual, self.weight.bias,
            1.0, 0, self.dtype, 1.0, 0, "add", 1.0, "none", [], "",
        )  # fmt: skip
        return outputs

    def _product(self, inputs: Tensor) -> tuple[Tensor, float, int, Tensor, Tensor, Tensor]:
        """Return the operator's arguments that are about the two factors."""
        taken = inputs if inputs.dtype == torch.uint8 else self._quantized(inputs)
        weight = self.weight
        return taken, self.inputs.size, self.inputs.zero, weight.packed, weight.scales, weight.zeros


def int8_is_supported() -> bool:
    """Say whether this processor's PyTorch has the integer products."""
    return _has_onednn() and hasattr(torch.ops.onednn, "qlinear_pointwise")


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
