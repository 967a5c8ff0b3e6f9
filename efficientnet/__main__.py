"""``python -m efficientnet`` is the command ``efficientnet``."""

import sys

from .cli import main

sys.exit(main())
