"""Note E's family: the reduced AlexNet."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.small_alexnet import SmallAlexNetRecipe


class SmallAlexNetTrial(ImageTrainable):
    recipe = SmallAlexNetRecipe
