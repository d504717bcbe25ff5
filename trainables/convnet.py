"""Note D's own networks."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.convnet import ConvNetRecipe
from trainables.patience import PatientBagging


class ConvNetTrainable(ImageTrainable):
    recipe = ConvNetRecipe
    strategy = PatientBagging
