"""What the tests of predictors share."""

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for the compiled engines of a module's tests."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFICIENTNET_HOME", str(folder))
        yield folder
