"""Reading other people's weight files: one reader per file format, one naming table per origin.

path ── open_checkpoint ──> {their name: array} ── naming table ──> {our name: array in Keras' layout}
"""

from ..errors import CheckpointError
from .facts import Facts
from .foreign import describe as describe_format
from .reading import Reading, accept, explain, open_checkpoint, read_checkpoint, remarks, report

__all__ = [
    "CheckpointError",
    "Facts",
    "Reading",
    "accept",
    "describe_format",
    "explain",
    "open_checkpoint",
    "read_checkpoint",
    "remarks",
    "report",
]
