"""Folders around an exported model: what another program serves, or a browser opens."""

from .base import Deployment, Exported
from .ovms import OVMS
from .triton import TRITON
from .web import WEB

DEPLOYMENTS: dict[str, Deployment] = {"web": WEB, "triton": TRITON, "ovms": OVMS}

__all__ = ["DEPLOYMENTS", "Deployment", "Exported"]
