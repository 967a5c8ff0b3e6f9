"""``python -m efficientnet`` is the command ``efficientnet``."""

from .cli import command

command()
