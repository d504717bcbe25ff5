"""Note A's family: AlexNet scaled down, alone, bagged or boosted."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.alexnet import AlexNetRecipe


class BaggedAlexNet(ImageTrainable):
    """Bagging of compressed AlexNets; one member is the single model."""

    recipe = AlexNetRecipe
