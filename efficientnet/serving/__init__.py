"""A server that predicts images sent to it, by HTTP: its own interface, the Open Inference Protocol, and a page.

```python
from efficientnet.inference import compile
from efficientnet.serving import Limits, create_app

app = create_app({"flowers": compile("runs/flowers/model.keras")}, Limits(waiting=64))
```
"""

from .app import create_app
from .gathering import Gatherer
from .limits import Limits

__all__ = ["Gatherer", "Limits", "create_app"]
