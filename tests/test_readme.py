"""The README holds what the commands wrote, and names only what is there."""

import re

import pytest
import tiny

from experiments.readme import filled
from ilnrepro.errors import InputError

README = (tiny.ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_those_of_the_files():
    assert filled(README, tiny.ROOT) == README, "run `make readme`"


def test_blocks_are_filled(tmp_path):
    (tmp_path / "t.md").write_text("| a |\n", encoding="utf-8")
    text = "x\n<!-- table: t.md -->\nold\n<!-- end -->\ny"
    assert filled(text, tmp_path) == "x\n<!-- table: t.md -->\n| a |\n<!-- end -->\ny"
    with pytest.raises(InputError, match="gone.md: no such table"):
        filled("<!-- table: gone.md -->\n<!-- end -->", tmp_path)


def test_pictures_and_make_targets_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (tiny.ROOT / path).is_file(), path
    targets = set(re.findall(r"^([a-z0-9-]+):", (tiny.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in re.findall(r"^make ([^#\n]*)", README, re.MULTILINE):
        for word in line.split():
            if "=" in word:
                break
            assert word in targets, word
