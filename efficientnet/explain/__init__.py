"""Heat maps of the evidence: where in an image a network sees a class.

    from efficientnet.explain import explain, overlay

    (found,) = explain(model, "panda.jpg")
    overlay("panda.jpg", found).save("panda-map.png")

Importing this imports no framework.
"""

from __future__ import annotations

from .explaining import METHODS, Explanation, explain
from .overlay import overlay

__all__ = ["METHODS", "Explanation", "explain", "overlay"]
