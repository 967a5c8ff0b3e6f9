"""Docstrings of functions begin with a verb: "Return the …", not "Returns …" or "The …"; comments have a subject."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [path for folder in ("efficientnet", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
NO_VERBS = (
    r"(A|All|An|Each|For|How|In|Of|Our|So|The|Their|They|Those|What|Where|Whether|Who|Why|Without|[A-Z][a-z]+[^s\W]s)\b"
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_of_functions_begin_with_a_verb(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (text := ast.get_docstring(node)):
            is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            is_verb = re.match(r"[A-Z][a-z-]+\b", text) and not re.match(NO_VERBS, text)
            assert is_property or is_verb, f"{path}:{node.lineno}: {text.splitlines()[0]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_have_a_subject(path):
    """Not "1e-3  # of a factor", nor "call()  # which raises"."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            wrong = token.type == tokenize.COMMENT and re.match(r"# +([Oo]f|which|whose)\b", token.string)
            assert not wrong or token.line.strip() == token.string, f"{path}:{token.start[0]}: {token.string}"
