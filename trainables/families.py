"""Studies that compare families."""

from __future__ import annotations

from trainables.base import ImageTrainable
from trainables.models.families import CONVNET_OR_PRETRAINED
from trainables.patience import PatientBagging


class ConvNetOrPretrained(ImageTrainable):
    """Both groups of note D."""

    recipe = CONVNET_OR_PRETRAINED
    strategy = PatientBagging
