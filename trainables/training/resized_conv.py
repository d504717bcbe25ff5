"""Convolve an enlarged image without making the enlarged image.

Bilinear enlargement is linear, so that it folds into the kernel, exactly. At a whole scale s and a stride t prime
to it, s neighbouring outputs along an axis see s different alignments of kernel and pixels ("phases"), and the
pattern repeats every s outputs, t pixels further on. Each pair of a row's and a column's phase is a small
convolution of stride t on the original pixels. For AlexNet on 32 pixels (scale 7, stride 4, 11x11 taps) this takes
6 instead of 22 million multiply-adds an image, and no 224x224 tensor.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


class ResizedConv2d(nn.Conv2d):
    """nn.Conv2d on images resized to `size` x `size` (bilinear, corners not aligned).

    Takes [n, c, h, w] of any size, returns [n, outputs, o, o]; parameters are those of the convolution on the
    resized image.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, *, size: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.size = size
        self.folds = True  # set to False by callers that cannot run the fold

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # The fold has no gradient for its images, and is faster on a CPU; on a GPU it was not measured.
        square = images.shape[-1] == images.shape[-2]
        if not self.folds or images.device.type != "cpu" or images.requires_grad or not square:
            return self.plain(images)
        return self.folded(images)

    def folded(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve with the folded kernel if there is a fold, else resize and convolve; `forward` calls this."""
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        fold = _fold(images.shape[-1], self.size, kernel, stride, padding, self.weight.dtype)
        if fold is None:
            return self.plain(images)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        with torch.autocast("cpu", enabled=False):
            outputs: torch.Tensor = _FoldedConvolution.apply(images.to(dtype), self.weight, self.bias, fold)
        return outputs

    def plain(self, images: torch.Tensor) -> torch.Tensor:
        """Resize the images, then convolve them: the reference for `folded`."""
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return super().forward(images)


class _Fold:
    """Geometry of one fold along an axis; both axes are alike.

    scale    number of phases, and of outputs in a block; each block begins `stride` pixels after the block before
    blocks   number of blocks of `scale` outputs, the last in part beyond `outputs`
    before, after  pixels by which the border is continued
    columns  [phase, tap, pixel]: the share that each tap takes from each pixel of a block's window of `reach` pixels
    rows     the same for the `high` pixels from `starts[phase]` on, outside which a phase takes nothing
    """

    def __init__(self, side: int, size: int, taps: int, stride: int, padding: int, dtype: torch.dtype) -> None:
        self.scale, self.stride, self.padding = size // side, stride, padding
        self.outputs = (size + 2 * padding - taps) // stride + 1
        self.blocks = math.ceil(self.outputs / self.scale)
        phase = torch.arange(self.scale)[:, None]
        positions = (phase * stride - padding + torch.arange(taps) + 0.5).double() / self.scale - 0.5
        pixels = positions.floor()
        first = int(pixels.min())
        self.reach = int(pixels.max()) + 2 - first
        near, share = (pixels - first).long(), positions - pixels
        columns = torch.zeros(self.scale, taps, self.reach, dtype=torch.float64)
        columns.scatter_(2, near[..., None], (1 - share)[..., None])
        columns.scatter_(2, near[..., None] + 1, share[..., None])
        self.columns = columns.to(dtype)
        self.high = int((near.amax(1) - near.amin(1)).max()) + 2
        self.starts = near.amin(1).clamp(max=self.reach - self.high).tolist()
        self.rows = torch.stack([self.columns[b, :, start : start + self.high] for b, start in enumerate(self.starts)])
        self.before = -first
        self.after = (self.blocks - 1) * stride + self.reach - self.before - side

    def blocks_of(self, phase: int) -> int:
        """Return the number of blocks in which this phase's output is not beyond the last output."""
        return len(range(phase, self.outputs, self.scale))


@functools.cache
def _fold(side: int, size: int, taps: int, stride: int, padding: int, dtype: torch.dtype) -> _Fold | None:
    """Return the fold of this geometry, or None if folding is not exact or not faster."""
    scale = size // side
    if size % side or scale < 2 or math.gcd(scale, stride) > 1 or padding > stride:
        return None
    last = ((size + 2 * padding - taps) // stride) * stride - padding + taps
    fold = _Fold(side, size, taps, stride, padding, dtype)
    # _FoldedConvolution corrects for zero padding at the top and on the left only.
    return fold if last <= size and fold.before >= 0 and fold.after >= 0 else None


class _FoldedConvolution(torch.autograd.Function):
    """Folded convolution: for each row phase one matrix product, of its blocks' windows with its kernels.

    Each product takes the kernels of all column phases at once.

    The products have the images' precision, forward and backward; kernels are folded and unfolded in the weights'.
    """

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, fold: _Fold) -> torch.Tensor:
        n, outputs, blocks, scale = len(images), len(weight), fold.blocks, fold.scale
        windows, top, left = _windows(images, fold)
        kernels = torch.einsum("bkh,ockl,dlq->bhqcdo", fold.rows, weight, fold.columns).to(images.dtype)
        found = torch.bmm(windows, kernels.reshape(scale, windows.shape[2], scale * outputs))
        found = found.view(scale, n, blocks, blocks * scale, outputs)
        result = images.new_empty(n, fold.outputs, fold.outputs, outputs)
        for phase in range(scale):
            used = found[phase, :, : fold.blocks_of(phase), : fold.outputs]
            torch.add(used, bias, out=result[:, phase::scale])
        if fold.padding:
            # In place of the padding's zeros the fold has continued the border: subtract its share.
            padding = fold.padding
            for edge, pixels, taps in (
                (result[:, 0], top, weight[:, :, :padding].sum(2)),
                (result[:, :, 0], left, weight[:, :, :, :padding].sum(3)),
            ):
                kernel = torch.einsum("ocl,dlq->qcdo", taps, fold.columns).to(images.dtype)
                share = pixels @ kernel.reshape(pixels.shape[1], scale * outputs)
                edge -= share.view(n, blocks * scale, outputs)[:, : fold.outputs]
            # Top and left have both subtracted the corner.
            result[:, 0, 0] += images[:, :, 0, 0] @ weight[:, :, :padding, :padding].sum((2, 3)).T.to(images.dtype)
        ctx.fold = fold
        ctx.save_for_backward(windows, top, left, images[:, :, 0, 0])
        return result.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, torch.Tensor, torch.Tensor, None]:
        fold: _Fold = ctx.fold
        windows, top, left, corner = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1)
        n, outputs, blocks, scale = len(gradient), gradient.shape[3], fold.blocks, fold.scale
        inputs = corner.shape[1]
        phases = gradient.new_empty(scale, n, blocks, blocks * scale, outputs)
        phases[:, :, :, fold.outputs :] = 0
        for phase in range(scale):
            used = fold.blocks_of(phase)
            phases[phase, :, :used, : fold.outputs] = gradient[:, phase::scale]
            phases[phase, :, used:] = 0
        phases = phases.view(scale, n * blocks * blocks, scale * outputs)
        kernels = torch.bmm(windows.transpose(1, 2), phases).to(fold.rows.dtype)
        kernels = kernels.view(scale, fold.high, fold.reach, inputs, scale, outputs)
        weight = torch.einsum("bhqcdo,bkh,dlq->ockl", kernels, fold.rows, fold.columns)
        if fold.padding:
            padding = fold.padding
            for edge, pixels, taps in (
                (gradient[:, 0], top, weight[:, :, :padding].transpose(2, 3)),
                (gradient[:, :, 0], left, weight[:, :, :, :padding]),
            ):
                edge = F.pad(edge, (0, 0, 0, blocks * scale - fold.outputs)).view(n * blocks, scale * outputs)
                kernel = (pixels.T @ edge).to(weight.dtype).view(fold.reach, inputs, scale, outputs)
                taps -= torch.einsum("qcdo,dlq->ocl", kernel, fold.columns)[..., None]
            weight[:, :, :padding, :padding] += (gradient[:, 0, 0].T @ corner)[..., None, None]
        if gradient.dtype == weight.dtype:
            bias = phases.sum((0, 1))
        else:
            # A sum over bfloat16 would first copy its input to float32; a product adds in float32 without a copy.
            bias = (phases.new_ones(1, n * blocks**2) @ phases).sum(0, dtype=weight.dtype)
        return None, weight, bias.view(scale, outputs).sum(0), None


def _windows(images: torch.Tensor, fold: _Fold) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the pixels of images [n, c, side, side] that each block sees.

    Returns [phase, n * blocks * blocks, high * reach * c] from the rows that each phase draws on, then the first row
    and the first column of pixels, both [n * blocks, reach * c].
    """
    n, inputs = images.shape[:2]
    around = (fold.before, fold.after)
    padded = F.pad(images, around * 2, mode="replicate").permute(0, 2, 3, 1).contiguous()
    top, left = (
        padded.select(axis, fold.before).unfold(1, fold.reach, fold.stride).transpose(2, 3).reshape(n * fold.blocks, -1)
        for axis in (1, 2)
    )
    whole = padded.unfold(1, fold.reach, fold.stride).unfold(2, fold.reach, fold.stride).permute(0, 1, 2, 4, 5, 3)
    windows = images.new_empty(fold.scale, n, fold.blocks, fold.blocks, fold.high, fold.reach, inputs)
    for phase, start in enumerate(fold.starts):
        windows[phase] = whole[..., start : start + fold.high, :, :]
    return windows.view(fold.scale, n * fold.blocks**2, fold.high * fold.reach * inputs), top, left
