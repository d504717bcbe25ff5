"""The floating-point operations of a network."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from search.flops import forward_flops


class Attention(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.flatten(2)
        return pixels @ pixels.transpose(1, 2)


def test_multiplications_and_additions_are_counted_also_of_operations_that_are_no_module() -> None:
    with torch.device("meta"):
        network, images = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Attention()), torch.empty(2, 3, 6, 6)
    convolution, product = 2 * 2 * 36 * 8 * 27, 2 * 2 * 8 * 8 * 36
    assert forward_flops(network, images) == convolution + product


def test_counting_imports_no_compiler() -> None:
    """Triton would end every command that tells a cost with 40 lines about leaks."""
    code = (
        "import sys, torch; from torch import nn; from search.flops import forward_flops as count\n"
        "assert count(nn.Conv2d(3, 8, 3), torch.empty(1, 3, 8, 8)) == 2 * 36 * 8 * 27\n"
        "assert count(nn.Linear(4, 2), torch.empty(1, 4)) == 16\n"
        "print([name for name in ('triton', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
