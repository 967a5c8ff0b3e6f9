"""Trains a network on a folder of images: the command ``efficientnet train`` as a script."""

from __future__ import annotations

import argparse
import sys

from efficientnet.cli.main import run
from efficientnet.cli.train import add_arguments


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    return run(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
