"""The README holds what the commands wrote, and names only what is there."""

import re
import subprocess

import pytest
import tiny

from experiments.readme import filled, update
from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOLS

README = (tiny.ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_those_of_the_files():
    assert filled(README, tiny.ROOT) == README, "run `make readme`"


def test_blocks_are_filled(tmp_path):
    (tmp_path / "t.md").write_text("| a |\n", encoding="utf-8")
    text = "x\n<!-- table: t.md -->\nold\n<!-- end -->\ny"
    assert filled(text, tmp_path) == "x\n<!-- table: t.md -->\n| a |\n<!-- end -->\ny"
    with pytest.raises(InputError, match="gone.md: no such table"):
        filled("<!-- table: gone.md -->\n<!-- end -->", tmp_path)
    with pytest.raises(InputError, match="in the project's folder"):
        update(tmp_path / "README.md")


def test_data_are_where_the_commands_say():
    from data_prep.__main__ import SOURCES

    addresses = {address for _, _, where in SOURCES.values() for address in re.findall(r"https://[^ )]+", where)}
    assert len(addresses) == 4 and all(f"]({address})" in README for address in addresses)


def test_pictures_and_make_targets_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (tiny.ROOT / path).is_file(), path
    targets = set(re.findall(r"^([a-z0-9-]+):", (tiny.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in re.findall(r"^make ([^#\n]*)", README, re.MULTILINE):
        for word in line.split():
            if "=" in word:
                break
            assert word in targets, word


def test_make_knows_the_protocols_and_refuses_others_before_it_does_anything(tmp_path):
    known = re.search(r"^PROTOCOLS := (.*)$", (tiny.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(known[1].split()) == sorted(PROTOCOLS)
    done = subprocess.run(["make", "--no-print-directory", "-n", "reproduce", "PROTOCOL=fast"], cwd=tiny.ROOT,
                          capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and "'fast' is unknown; choose one of" in done.stderr and not done.stdout


def test_make_hands_options_on_to_tables_and_figures():
    of_runs = "--keep-weights --tensorboard curves"
    lines = [line for line in recipe("reproduce", f"OPTIONS=--epsilon 1e-12 {of_runs}")
             if "-m figures" in line or "experiments tables" in line]
    assert len(lines) == 2 and all(line.endswith("--epsilon 1e-12") for line in lines)


@pytest.mark.parametrize("target", ["reproduce", "reproduce-rho", "reproduce-family", "reproduce-kolarik",
                                    "reproduce-dualnorm"])
def test_a_dry_run_measures_and_draws_nothing(target):
    lines = [line for line in recipe(target, "OPTIONS=--dry-run") if re.search(r"-m (experiments|figures)", line)]
    assert len(lines) == 1 and re.search("experiments (run|dualnorm)", lines[0])


def recipe(*words):
    done = subprocess.run(["make", "-n", *words], cwd=tiny.ROOT, capture_output=True, encoding="utf-8", check=True)
    return [line.strip() for line in done.stdout.replace("\\\n", " ").splitlines() if not line.startswith("true")]
