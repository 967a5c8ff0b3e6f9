"""Errors about missing packages: one module builds them, and each extra that they name exists."""

import ast
import re
from pathlib import Path

from efficientnet.common import packages

ROOT = Path(packages.__file__).parents[2]
MODULES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "efficientnet").rglob("*.py")}
PLACES = {"install": 0, "missing": 1}  # of the extra among the arguments


def test_each_extra_that_a_message_names_exists():
    calls = [node for code in MODULES.values() for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    extras = [call.args[PLACES[name]] for call in calls if (name := getattr(call.func, "id", None)) in PLACES]
    named = {extra.value for extra in extras if isinstance(extra, ast.Constant)}
    known = re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) > 10 and named <= set(known)


def test_no_other_module_writes_the_command():
    assert [path.name for path, code in MODULES.items() if "'efficientnet[" in code] == ["packages.py"]
