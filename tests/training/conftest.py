"""What the tests of trainings have in common."""

import pytest


@pytest.fixture
def undrawn(monkeypatch):
    """Let trainings draw no curves and no report, which takes longer than to train a small network."""
    from efficientnet.training import report, run_folder

    monkeypatch.setattr(report, "can_report", lambda: False)
    monkeypatch.setattr(run_folder, "find_spec", lambda package: None)
