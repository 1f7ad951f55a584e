"""The documents hold what the commands wrote, name only what is there, and reach one another."""

import re
import subprocess
import sys

import pytest
import tiny

from experiments.analysis.captions import sentences
from experiments.analysis.readme import documents, fill_blocks, update
from ilnrepro.errors import InputError

ALL = {path.relative_to(tiny.ROOT).as_posix(): path.read_text(encoding="utf-8") for path in
       (*documents(tiny.ROOT), tiny.ROOT / "CONTRIBUTING.md", *tiny.ROOT.glob("experiments/papers/*/README.md"))}
README = ALL["README.md"]


@pytest.mark.parametrize("name", ALL)
def test_tables_and_numbers_are_those_of_the_files(name):
    assert fill_blocks(ALL[name], tiny.ROOT) == ALL[name], "run `make readme`"


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 120


TABLE = """Scores of A. Data: x. Zhou et al. 2019 has others.

| a | b |
| --- | --- |
| one | 1.5 |
| two \\| three | 2 |
"""


def test_blocks_are_filled(tmp_path):
    (tmp_path / "t.md").write_text(TABLE, encoding="utf-8")
    (tmp_path / "u.md").write_text("Scores of B. Data: x. More.\n\n| a |\n", encoding="utf-8")
    rows = TABLE[TABLE.index("|"):].strip()
    blocks = {"table: t.md": f"Scores of A.\n\n{rows}", "rows: t.md": rows, "lead: t.md": "Scores of A.",
              "notes: t.md u.md": "- `t`: Data: x. Zhou et al. 2019 has others.\n- `u`: More."}
    for kind, content in blocks.items():
        text = f"x\n<!-- {kind} -->\nold\n<!-- end -->\ny"
        assert fill_blocks(text, tmp_path) == f"x\n<!-- {kind} -->\n{content}\n<!-- end -->\ny"
    for space in ("", "\n"):
        text = f"a <!-- cell: t.md | one |\n b -->{space}old<!-- end -->."
        assert fill_blocks(text, tmp_path) == text.replace("old", "1.5")


@pytest.mark.parametrize("block, words", [("table: gone.md", "x.md: gone.md: no such table"),
                                          ("cell: t.md | one | c", "t.md: no row 'one' with a column 'c'"),
                                          ("cell: t.md | none | b", "t.md: no row 'none'")])
def test_what_is_not_there_is_named(tmp_path, block, words):
    (tmp_path / "t.md").write_text(TABLE, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        fill_blocks(f"<!-- {block} --><!-- end -->", tmp_path, "x.md")
    with pytest.raises(InputError, match="in the project's folder"):
        update(tmp_path / "README.md", tmp_path)


def test_a_sentence_ends_before_a_letter():
    assert sentences("One of 2.5 by X et al. 2019. two? Three.") == ["One of 2.5 by X et al. 2019.", "two?", "Three."]


def slugs(text):
    """The anchors of a document's headings, as GitHub and MkDocs make them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
            for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)}


@pytest.mark.parametrize("name", ALL)
def test_links_lead_to_what_is_there(name):
    place = (tiny.ROOT / name).parent
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", ALL[name]):
        path, _, anchor = link.partition("#")
        target = place / path if path else tiny.ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in slugs(target.read_text(encoding="utf-8")), link


def test_outside_addresses_stand_in_one_document():
    from data_prep.__main__ import SOURCES

    listed = set(re.findall(r"<(https?://[^>]+)>", ALL["docs/addresses.md"]))
    of_data = {address for _, _, where in SOURCES.values() for address in re.findall(r"https://[^ )]+", where)}
    assert len(of_data) == 4 and of_data <= listed
    assert all(f"]({address})" in README.replace("prostate\nMR", "prostate MR") for address in of_data)
    for name, text in ALL.items():
        assert {address.rstrip(").,") for address in re.findall(r"https?://[^\s>]+", text)} <= listed, name


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (tiny.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for text in ALL.values():
        for line in re.findall(r"^make ([^#\n]*)", text, re.MULTILINE):
            for word in line.split():
                if "=" in word:
                    break
                assert word in targets, word


def test_every_document_is_in_the_sites_contents():
    contents = (tiny.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name in ALL:
        if name.startswith("docs/"):
            assert f": {name.removeprefix('docs/')}\n" in contents, name


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
                          cwd=tiny.ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    index = (tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "no gain of half a point" in index
    assert (tmp_path / "site" / "index.html").exists()
