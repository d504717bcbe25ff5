"""Note C's family: wide residual networks trained with sharpness-aware minimisation."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.wide_resnet import WideResNetRecipe


class WideResNetTrial(ImageTrainable):
    recipe = WideResNetRecipe
