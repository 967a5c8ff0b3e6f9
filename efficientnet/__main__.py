"""``python -m efficientnet`` is the command ``efficientnet``."""

from .cli.main import command

command()
