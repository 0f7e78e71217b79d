"""Run the tutorial and keep what it printed: ``python docs/run_tutorial.py``.

The notebook runs in a folder of its own, so that nothing of the machine is in its outputs; the run fails if a
path of the machine got into one all the same.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
NOTEBOOK = DOCS / "tutorial.ipynb"
SECONDS_A_CELL = 1800

MACHINE_PATH = re.compile(r"(?<![\w.:/<])/(?:home|tmp|root|work|usr|opt|var|private|Users)/\S+|\b[A-Z]:\\\S+")


def machine_paths(notebook: Any) -> list[str]:
    """Return what in sources and outputs is a path of some machine.

    >>> machine_paths({"cells": [{"source": "open('/home/ann/x')", "outputs": []}]})
    ["/home/ann/x')"]
    >>> machine_paths({"cells": [{"source": "docs/x and https://example.org/home/x", "outputs": []}]})
    []
    """
    return [found for text in _texts(notebook) for found in MACHINE_PATH.findall(text)]


def _texts(notebook: Any) -> Iterator[str]:
    for cell in notebook["cells"]:
        yield cell["source"]
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            yield from (value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def run(notebook: Any, folder: Path) -> Any:
    """Execute a notebook in a folder, and leave out of it when and in how long.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    ValueError
        If a path of this machine is in an output.
    """
    from nbclient import NotebookClient

    os.environ.setdefault("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    work = folder / "work"
    work.mkdir(parents=True)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(work)}},
    )
    done = client.execute()
    for cell in done["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [one for one in cell["outputs"] if one.get("name") != "stderr"]
    # Which patch release ran it is no part of the tutorial.
    done["metadata"]["language_info"] = {"name": "python"}
    if paths := machine_paths(done):
        raise ValueError(f"the tutorial shows paths of this machine: {', '.join(paths)}")
    return done


def main() -> int:
    """Run the notebook and write it, here or where ``--to`` says."""
    import nbformat

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--to", type=Path, default=NOTEBOOK, help="where to write the notebook with its outputs"
    )
    parser.add_argument("--folder", type=Path, help="an empty folder to run in; kept afterwards")
    asked = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as temporary:
        done = run(notebook, asked.folder or Path(temporary))
    nbformat.write(done, asked.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
