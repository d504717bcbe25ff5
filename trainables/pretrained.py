"""torchvision's networks with ImageNet weights (note D, 2 and 3; note B, 8)."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.pretrained import PretrainedRecipe
from trainables.patience import PatientBagging


class PretrainedTrainable(ImageTrainable):
    recipe = PretrainedRecipe
    strategy = PatientBagging
