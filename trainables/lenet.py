"""Note B's family: the small LeNet-like network."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.lenet import LeNetRecipe


class LeNetTrainable(ImageTrainable):
    recipe = LeNetRecipe
