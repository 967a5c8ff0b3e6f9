"""Folders that other packages open with their own functions: weights, configuration and a model card."""

from .base import Package
from .kerashub import KERASHUB
from .pytorch import LUKEMELAS, TORCHVISION
from .timm import TIMM
from .transformers import TRANSFORMERS

PACKAGES: dict[str, Package] = {
    package.name: package for package in (TRANSFORMERS, KERASHUB, TIMM, TORCHVISION, LUKEMELAS)
}

__all__ = ["PACKAGES", "Package"]
