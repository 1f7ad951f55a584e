"""Imports go one way; no paper is recognised outside its own folder; no function or module is too long."""

import ast
import functools

import pytest
import tiny

from experiments.papers import PAPERS
from ilnrepro.networks import NETWORKS
from ilnrepro.norms.methods import METHODS, method
from ilnrepro.norms.rules import undone_channels
from ilnrepro.norms.values import Settings
from ilnrepro.protocols import PROTOCOLS

PACKAGES = ("ilnrepro", "data_prep", "experiments", "figures")
COMMAND_LINES = ("experiments.__main__", "figures.__main__")
FUNCTION, MODULE = 60, 400  # lines


def within(module, *packages):
    """Whether a module is one of the packages, or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@functools.cache
def trees():
    """{module: its syntax tree}, packages by their own names."""
    tree_of = {}
    for package in PACKAGES:
        for path in sorted((tiny.ROOT / package).rglob("*.py")):
            parts = path.relative_to(tiny.ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree_of[name] = ast.parse(path.read_text(encoding="utf-8"))
    return tree_of


@functools.cache
def imports(module):
    """The project's modules that a module imports, at its top or within functions."""
    modules = set()
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            modules |= {f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in trees() else node.module
                      for alias in node.names}
    return modules & trees().keys() - {module}


def arrows():
    return [(module, imported) for module in trees() for imported in imports(module)]


def test_packages_import_those_before_them_alone():
    known = {"ilnrepro": PACKAGES[:1], "data_prep": PACKAGES[:2], "experiments": PACKAGES[:3],
             "figures": ("ilnrepro", "experiments", "figures")}
    assert not [(a, b) for a, b in arrows() if not within(b, *known[a.split(".")[0]])]


def test_papers_are_imported_by_command_lines_alone():
    assert not [(a, b) for a, b in arrows()
                if within(b, "experiments.papers") and not within(a, "experiments.papers", *COMMAND_LINES)]


def test_figures_read_results_through_the_analysis_alone():
    reading = ("ilnrepro.storage.runfile", "ilnrepro.storage.verification", "ilnrepro.storage.hdf5",
               "ilnrepro.comparison.scores", "ilnrepro.comparison.choice", "ilnrepro.comparison.differences",
               "ilnrepro.comparison.uncertainty")
    assert not [(a, b) for a, b in arrows() if within(a, "figures") and within(b, *reading)]
    assert not [(a, b) for a, b in arrows() if within(a, "figures") and within(b, "experiments")
                and not within(b, "experiments.analysis") and a not in COMMAND_LINES]


def test_what_is_measured_and_what_is_analysed_need_nothing_of_each_other():
    assert not [(a, b) for a, b in arrows() if within(a, "experiments.measure") and
                within(b, "experiments.analysis", "experiments.runs")]
    assert not [(a, b) for a, b in arrows() if within(a, "experiments.analysis") and
                within(b, "experiments.measure", "experiments.runs")]


def room(module):
    """The folder or module just below a package that a module lies in: 'ilnrepro.storage'."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("place", [str, room], ids=["modules", "rooms"])
def test_imports_make_no_circle(place):
    graph = {}
    for module, imported in arrows():
        if place(module) != place(imported):
            graph.setdefault(place(module), set()).add(place(imported))

    def walk(node, path):
        assert node not in path, f"a circle of imports: {' → '.join([*path, node])}"
        if node not in done:
            for imported in graph.get(node, ()):
                walk(imported, [*path, node])
            done.add(node)

    done = set()
    for node in graph:
        walk(node, [])


# What tells a paper: its protocols, the words in its data sets' titles, its subjects, the networks that are its own,
# the number of channels on which its normalization is undone.
NAMES = {*PROTOCOLS, *(name.partition("-")[0] for name in PROTOCOLS)}
TITLES = {word for paper in PAPERS for word in (*paper.preparations, *paper.omitted)}
CLASSES = {network.__name__ for network in NETWORKS.values()}
UNDONE = undone_channels(METHODS["iln"].rule, Settings())


def recognised(tree):
    """The lines that compare something with a name that is a paper's own."""
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                  and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        constants, called = [], ""
        if isinstance(node, ast.Compare | ast.Match):
            constants = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("startswith", "endswith", "removeprefix", "partition"):
                constants = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
        if any(value in NAMES or value is not True and value == UNDONE for value in constants):
            yield node.lineno
        if called == "isinstance" and {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node)} & CLASSES:
            yield node.lineno
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings and \
                any(word in node.value for word in TITLES):
            yield node.lineno


@pytest.mark.parametrize("module", [name for name in trees() if not within(name, "data_prep", "experiments.papers")])
def test_no_paper_is_recognised_outside_its_own_folder(module):
    assert not list(recognised(trees()[module]))


def test_recognising_a_paper_is_noticed():
    for line in ('name.startswith("dualnorm")', 'p.name == "kolarik-quick"', 'x = "SC-N-06"', '"Sunnybrook" in title',
                 "isinstance(network, DualNormUNet)", "[c for c in channels if c != 16]", 'name in ("paper", "b")'):
        assert list(recognised(ast.parse(line))), line
    assert not list(recognised(ast.parse('def f(name):\n    """As in Sunnybrook."""\n    return name == "LV" or 16')))


def test_a_mix_is_undone_on_as_many_channels_as_there_are_groups_after_it():
    undone = {name: undone_channels(method(name).rule, Settings()) for name in ("iln", "iln8", "sigmoid", "in", "gn16")}
    assert undone == {"iln": 16, "iln8": 8, "sigmoid": None, "in": None, "gn16": None}
    assert undone_channels(method("iln").rule, Settings(group_divisor="variance")) is None


def test_no_function_and_no_module_is_too_long():
    functions = {f"{module}.{node.name}": node.end_lineno - node.lineno + 1 for module, tree in trees().items()
                 for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not {name: lines for name, lines in functions.items() if lines > FUNCTION}
    modules = {module: tree.body[-1].end_lineno for module, tree in trees().items() if tree.body}
    assert not {name: lines for name, lines in modules.items() if lines > MODULE}
