"""What is imported is declared, what is declared is pinned, and packages know one another in one direction only."""

import ast
import configparser
import contextlib
import importlib.metadata
import re
import sys

import pytest
import tiny
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ilnrepro

CONFIGURATION = configparser.ConfigParser()
CONFIGURATION.read(tiny.ROOT / "setup.cfg", encoding="utf-8")
OURS = ("ilnrepro", "data_prep", "experiments", "figures")
DISTRIBUTIONS = {"pil": "pillow"}  # where an import's name is not the distribution's
FOR_GPU = re.compile("nvidia-|cuda-|triton")  # what TensorFlow and PyTorch bring on machines with a GPU only


def requirements(*extras):
    """The requirements of `ilnrepro` with these extras, as setup.cfg has them."""
    declared = CONFIGURATION["options"]["install_requires"] + "\n".join(
        CONFIGURATION["options.extras_require"][extra] for extra in extras)
    return [Requirement(line) for line in declared.splitlines() if line and not line.startswith("#")]


def names(*extras):
    return {canonicalize_name(requirement.name) for requirement in requirements(*extras)}


def imports(folder):
    """(file, distribution or package of ours, whether it happens as the file is imported) of every import."""
    beside = set() if folder in OURS else {folder, *(path.stem for path in (tiny.ROOT / folder).iterdir())}
    for path in sorted((tiny.ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {module.split(".")[0] for module in modules} - sys.stdlib_module_names - beside:
                distribution = name if name in OURS else canonicalize_name(DISTRIBUTIONS.get(name.lower(), name))
                yield str(path.relative_to(tiny.ROOT)), distribution, node in tree.body


EXTRAS = tuple(CONFIGURATION["options.extras_require"])


def test_ilnrepro_imports_what_is_installed_with_it():
    always, optional = names(), names(*EXTRAS)
    imported = set(imports("ilnrepro"))
    assert not {(path, name) for path, name, at_once in imported if at_once and name not in {*always, "ilnrepro"}}
    assert not {(path, name) for path, name, _ in imported if name not in {*optional, "ilnrepro"}}


@pytest.mark.parametrize("folder, knows", [("data_prep", OURS[:2]), ("experiments", OURS[:3]), ("figures", OURS),
                                           ("tests", OURS), ("examples", OURS[:1])])
def test_the_repositorys_packages_import_what_is_declared(folder, knows):
    assert not {(path, name) for path, name, _ in imports(folder) if name not in {*names(*EXTRAS), *knows}}


def test_every_package_needed_is_pinned():
    """Walks what is installed here; an extra that is not installed is looked at where it is."""
    lines = (tiny.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(Requirement(line).name) for line in lines if not line.startswith("#")}
    waiting, needed = requirements(*set(EXTRAS) - {"gpu"}), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or FOR_GPU.match(name):
            continue
        needed.add(name)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for brought in map(Requirement, importlib.metadata.requires(name) or []):
                if not brought.marker or any(brought.marker.evaluate({"extra": extra})
                                             for extra in ("", *requirement.extras)):
                    waiting.append(brought)
    assert needed <= pinned, sorted(needed - pinned)


def test_the_version_is_one():
    cited = (tiny.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (tiny.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {ilnrepro.__version__}\n" in cited
    assert f"\n## {ilnrepro.__version__} " in changes
