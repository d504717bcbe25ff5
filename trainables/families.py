"""Studies that compare families."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.families import CONVNET_OR_PRETRAINED, LENET_OR_RESNET
from trainables.patience import PatientBagging


class ConvNetOrPretrained(ImageTrainable):
    """Both groups of note D."""

    recipe = CONVNET_OR_PRETRAINED
    strategy = PatientBagging


class LeNetOrResNet(ImageTrainable):
    """The two networks that note B trains with one recipe (7, 8)."""

    recipe = LENET_OR_RESNET
    strategy = PatientBagging
