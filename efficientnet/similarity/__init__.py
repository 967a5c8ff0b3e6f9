"""Images by what a network sees in them: embeddings, the most similar images, classes from a few examples.

```python
from efficientnet.similarity import Embeddings, embed, find_similar, network_of

network = network_of("lite0", size=224)
embed("photos", "embeddings/photos", network)
found = Embeddings.read("embeddings/photos")
with network.compile() as predictor:
    query = predictor(["misc/panda.jpg"])
for neighbour in find_similar(found.vectors, query, k=5)[0]:
    print(found.paths[neighbour.row], neighbour.similarity)
```
"""

from .embeddings import Embedded, Embeddings, embed
from .examples import ExampleClassifier
from .neighbours import Neighbour, find_duplicates, find_similar
from .networks import FeatureNetwork, network_of

__all__ = [
    "Embedded",
    "Embeddings",
    "ExampleClassifier",
    "FeatureNetwork",
    "Neighbour",
    "embed",
    "find_duplicates",
    "find_similar",
    "network_of",
]
