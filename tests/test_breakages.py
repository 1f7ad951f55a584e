"""The list of breakages fits the code; `python -m tests.breakages` tries them."""

import re
from collections import Counter
from pathlib import Path

import pytest
from breakages.code import Breakage, broken
from breakages.listed import BREAKAGES

from ilnrepro.errors import InputError

ROOT = Path(__file__).parents[1]


def test_every_breakage_applies_and_names_tests_that_are_there():
    assert len(BREAKAGES) >= 40
    assert max(Counter(breakage.name for breakage in BREAKAGES).values()) == 1
    for breakage in BREAKAGES:
        assert broken(ROOT, breakage) != (ROOT / breakage.file).read_text(encoding="utf-8")
        assert breakage.tests, breakage.name
        for test in breakage.tests:
            path, name = re.fullmatch(r"(tests/test_\w+\.py)::(test_\w+)(?:\[.*\])?", test).groups()
            assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{breakage.name}: {test}"


@pytest.mark.parametrize("file, function, search, says", [
    ("ilnrepro/gone.py", "f", "a", "no such file"),
    ("a.py", "gone", "a", "0 of gone"),
    ("a.py", "f", "gone", "'gone' occurs 0 times in f"),
    ("a.py", "f", "x", "'x' occurs 2 times in f"),
    ("a.cc", "A.f", "gone", "'gone' occurs 0 times in A.f"),
])
def test_one_that_no_longer_applies_is_named(tmp_path, file, function, search, says):
    (tmp_path / "a.py").write_text("def f(x):\n    return x\n\n\ndef g(y):\n    return gone\n")
    (tmp_path / "a.cc").write_text("struct A {\n  int f(int x) { return x; }\n  int g() { return gone; }\n};\n")
    with pytest.raises(InputError, match=f"^slip: .*{re.escape(says)}"):
        broken(tmp_path, Breakage("slip", "", file, function, search, "", ()))


def test_only_the_named_function_is_changed(tmp_path):
    (tmp_path / "a.py").write_text("class A:\n    def f(x):\n        return x + 1\n\n\ndef g(x):\n    return x + 1\n")
    text = broken(tmp_path, Breakage("slip", "", "a.py", "A.f", "x + 1", "x - 1", ()))
    assert text == "class A:\n    def f(x):\n        return x - 1\n\n\ndef g(x):\n    return x + 1\n"
    (tmp_path / "a.cc").write_text("struct A {\n  int f(int x) { return x + 1; }\n  int g(int x) { return x + 1; }\n};")
    text = broken(tmp_path, Breakage("slip", "", "a.cc", "A.g", "x + 1", "x - 1", ()))
    assert text == "struct A {\n  int f(int x) { return x + 1; }\n  int g(int x) { return x - 1; }\n};"
