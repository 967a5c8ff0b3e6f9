"""Writes a file of weights in another format: the command ``efficientnet convert`` as a script."""

from __future__ import annotations

import argparse
import sys

from efficientnet.cli.convert import add_arguments
from efficientnet.cli.main import run


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    return run(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
