"""The networks that the published sets are of, as their publishers' own code builds them."""

import re

import pytest
from peers import import_torchvision

from efficientnet.checkpoints.names.torch import TIMM, TORCHVISION
from efficientnet.family.arrays import layers
from efficientnet.family.variants import get_variant
from efficientnet.weights.published import list_weights


@pytest.mark.slow
@pytest.mark.parametrize("origin", [TIMM, TORCHVISION], ids=lambda origin: origin.name)
def test_a_publishers_own_network_has_the_arrays_that_are_read(origin):
    torch = pytest.importorskip("torch")
    models = import_torchvision(torch).models
    timm = None if origin is TORCHVISION else pytest.importorskip("timm")
    shapes = {}  # of each architecture, of which several sets may be
    for row in list_weights():
        if row.publisher != origin.name:
            continue
        name = re.sub(r"-\w+\.pth|_(rwightman|lukemelas)", "", row.url.rpartition("/")[2])
        if timm:
            timm.get_pretrained_cfg(name, allow_unregistered=False)  # it raises where no such set is known
        architecture = name.partition(".")[0], row.classes
        if architecture not in shapes:
            with torch.device("meta"):  # shapes only
                create = timm.create_model if timm else models.get_model
                theirs = create(name, num_classes=row.classes).state_dict()
            shapes[architecture] = {
                key: tuple(tensor.shape) for key, tensor in theirs.items() if not key.endswith("num_batches_tracked")
            }
        found = shapes[architecture]
        ours = origin.entries(layers(get_variant(row.variant), row.classes))
        assert {entry.theirs: entry.their_shape for entry in ours} == found, row.url
