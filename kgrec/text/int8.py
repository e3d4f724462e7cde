"""Weights of linear layers in 8 bits: a quarter of the memory, on any device."""

from __future__ import annotations

import torch


class Int8Linear(torch.nn.Module):
    """A linear layer whose weights are whole numbers from -127 to 127, with one scale per row.

    Inputs are not quantized, so a text's vector does not depend on its batch. The scale is the largest value of a row:
    Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", NeurIPS 2022.

    Args:
        linear: the layer to replace, weights [outputs, inputs].
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(dim=1, keepdim=True).float().clamp_min(1e-12) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale.squeeze(1))
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., outputs] for x [..., inputs]; the weights of one layer at a time are dequantized."""
        y = torch.nn.functional.linear(x, self.get_buffer("weight").to(x.dtype)) * self.get_buffer("scale").to(x.dtype)
        return y if self.bias is None else y + self.bias


def to_int8(model: torch.nn.Module) -> None:
    """Replace every linear layer of a model by an `Int8Linear`, in place."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(module, name, Int8Linear(child))
