"""What is written is there whole or not at all, whoever writes it."""

import errno
import os

import numpy as np
import pytest
from matplotlib import pyplot as plt

from experiments.analysis import cost, readme
from experiments.papers.iln.tables import published_cost
from figures import style
from ilnrepro.comparison import sheet
from ilnrepro.errors import InputError
from ilnrepro.storage import files
from ilnrepro.use import prediction


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "new" / "x.txt"
    for content in ("ρ\n", "shorter"):
        files.write(path, content, b"|", memoryview(b"end"))
        assert path.read_bytes() == content.encode() + b"|end"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_as_readable_as_others(tmp_path):
    files.write(tmp_path / "x", "")
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def figure():
    made, axes = plt.subplots()
    axes.plot([0, 1])
    return made


def page(path):
    path.with_name("table.md").write_text("| a |\n", encoding="utf-8")
    path.write_text("<!-- table: table.md -->\n<!-- end -->\n" + "long " * 99, encoding="utf-8")
    return lambda: readme.update(path, path.parent)


def measured(path):
    return lambda: cost.write({"rows": []}, published_cost(), path.parent)


WRITERS = {
    "cost.json": measured,
    "x.md": lambda path: lambda: sheet.write(path.parent, "x", sheet.Sheet("t", "c", ["a"], [["b"]]), [{"a": 1}]),
    "x.png": lambda path: lambda: style.save(figure(), path.parent, "x", "caption"),
    "x-mask.png": lambda path: lambda: prediction._write_picture(path, np.zeros((4, 4), np.uint8)),
    "README.md": page,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_text("before", encoding="utf-8")
    write = WRITERS[name](path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match=f"{name}: cannot be written .No space left on device.; free space"):
        write()
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_an_ending_that_is_no_picture_s_is_named(tmp_path):
    with pytest.raises(InputError, match="x.docx: cannot be written .*give it a name that ends in .png"):
        files.write_figure(tmp_path / "x.docx", figure())
    assert not list(tmp_path.iterdir())
