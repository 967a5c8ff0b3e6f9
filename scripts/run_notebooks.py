"""Runs the notebooks of docs/notebooks and stores their outputs in them.

The outputs are stored, and not made when the documentation is built, so that building it needs no framework and no
weights. A test runs the notebooks and compares the kinds of their outputs with the stored ones.

    python scripts/run_notebooks.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def executed(path: Path, timeout: int = 120) -> Any:
    """Return a notebook with the outputs of a run, without what goes to standard error: it differs by machine.

    Raises:
        CellExecutionError: A cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    """Return the cells with programs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(path)
