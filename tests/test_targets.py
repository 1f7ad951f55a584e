"""Targets of make give commands that the command lines take, and a reproduction is commands."""

import re
import shlex
import subprocess

import pytest
import tiny

from data_prep import __main__ as data_prep
from experiments import __main__ as experiments
from experiments.runs import reproduction
from figures import __main__ as figures
from ilnrepro import cli

REPRODUCING = ("reproduce", "reproduce-table1", "reproduce-rho", "reproduce-family", "reproduce-kolarik",
               "reproduce-dualnorm")


@pytest.mark.parametrize("target", [*REPRODUCING, "data", "reproduce-cost", "reproduce-evidence", "tables", "plan",
                                    "coverage", "bench", "scale", "verify-gpu", "readme"])
def test_make_gives_one_command_that_the_command_line_takes(target):
    line, = recipe(target, "STAGE=1", "LV=a.h5", "PROTOCOL=quick")
    experiments.parser().parse_args(shlex.split(line)[3:])


def test_make_compare_gives_a_command_that_the_command_line_takes():
    given = ["LV=my data/a.h5", "METHODS=in iln", "HOURS=1", "RESULTS=r", "RATES=0.1 0.5", "PROTOCOL=quick"]
    line, = recipe("compare", *given)
    words = shlex.split(line)
    arguments = cli.parser().parse_args(words[1:])
    assert str(arguments.data) == "my data/a.h5" and arguments.methods == ["in", "iln"]
    assert arguments.hours == 1 and arguments.rates == [0.1, 0.5] and arguments.protocol == "quick"


def test_make_hands_on_what_it_is_given():
    line, = recipe("reproduce-kolarik", "SPINE=a.h5", "PROTOCOL=paper", "FOLDS=1 2", "OPTIONS=--epsilon 1e-12")
    assert shlex.split(line)[3:] == [
        "reproduce", "kolarik", "--data", "a.h5", "--protocol", "paper", "--folds", "1", "2", "--epsilon", "1e-12"]


def test_an_unknown_protocol_is_refused_before_anything_is_done(tmp_path):
    for words in (["--protocol", "fast"], ["--only", "fun"]):
        done = tiny.command("experiments", "reproduce", "iln", *words, "--results", tmp_path)
        assert done.returncode == 2 and "invalid choice" in done.stderr and not done.stdout


def steps(*words):
    """The commands of `experiments reproduce`, by what they begin with."""
    return [shlex.join(one) for one in reproduction.steps(experiments.parser().parse_args(["reproduce", *words]))]


def test_every_command_of_a_reproduction_is_one_that_the_command_lines_take():
    parsers = {"experiments": experiments.parser(), "data_prep": data_prep.parser(), "figures": figures.parser()}
    for name in ("iln", "family", "kolarik", "dualnorm"):
        for words in (["--protocol", "paper"], ["--epsilon", "1e-12", "--keep-weights", "--jobs", "2", "--rates", "1"]):
            for one in steps(name, *words):
                package, *rest = shlex.split(one)
                parsers[package].parse_args(rest)


def test_options_of_runs_do_not_reach_tables_and_figures():
    given = steps("iln", "--epsilon", "1e-12", "--keep-weights", "--tensorboard", "curves", "--data", "a.h5")
    of_runs, *others = [line for line in given if "cost" not in line]
    assert "--keep-weights" in of_runs and "--tensorboard curves" in of_runs and "--epsilon 1e-12" in of_runs
    assert [line.split()[:2] for line in others] == [["figures", "--protocol"], ["experiments", "tables"]]
    assert all(line.endswith("--epsilon 1e-12") for line in others)


@pytest.mark.parametrize("name", ["iln", "family", "kolarik", "dualnorm"])
def test_a_dry_run_measures_and_draws_nothing(name):
    line, = steps(name, "--dry-run", "--data", "a.h5")
    assert re.match("experiments (run|dualnorm) .*--dry-run", line)


def test_phantoms_are_made_where_no_data_are_given():
    made = [line for line in steps("kolarik", "--only", "data", "runs") if line.startswith("data_prep")]
    assert made == ["data_prep spine-phantom --size 32 --slices 40 --crop 0.6 --output build/data/phantom-spine-32.h5"]
    assert not [line for line in steps("kolarik", "--data", "a.h5") if line.startswith("data_prep")]
    assert "phantom-rv-256.h5" in steps("iln", "--protocol", "lite")[1]


def test_make_passes_names_with_spaces_on():
    for target, words in {"reproduce": ["LV=a b.h5", "RV=c d.h5", "RESULTS=e f"], "reproduce-cost": ["RESULTS=e f"],
                          "tables": ["LV=a b.h5", "RESULTS=e f"],
                          "reproduce-kolarik": ["SPINE=a b.h5", "RESULTS=e f"]}.items():
        line, = recipe(target, *words)
        given = shlex.split(line)
        for word in words:
            assert word.partition("=")[2] in given, line


def recipe(*words):
    done = subprocess.run(["make", "-n", *words], cwd=tiny.ROOT, capture_output=True, encoding="utf-8", check=True)
    lines = [line.strip() for line in done.stdout.replace("\\\n", " ").splitlines()]
    return [line for line in lines if "-m experiments" in line or "/ilnrepro " in line]
