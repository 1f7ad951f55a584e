"""What needs no computing starts without TensorFlow, and importing the package does nothing to the process."""

import json
import subprocess
import sys

import made_up
import numpy as np
import pytest
import tiny
from PIL import Image

from ilnrepro.storage import dataset

# Gives every command to its package's main, one after another in one process; prints as JSON how each ended and what of
# the slow libraries the process had imported by then.
COMMANDS = """
import contextlib, importlib, io, json, sys
from ilnrepro.errors import InputError
ended = []
for package, *words in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            end = str(importlib.import_module(f"{package}.__main__").main(words))
        except (InputError, SystemExit) as error:
            end = str(error)
    ended.append((end + out.getvalue(), sorted({"tensorflow", "keras", "scipy", "SimpleITK"} & set(sys.modules))))
json.dump(ended, sys.stdout)
"""

# Imports every module but the layer for Keras, each of them once as the first; prints what that changed.
IMPORTS = """
import importlib, json, os, pathlib, pkgutil, signal, sys, warnings
import h5py, numpy, rich.console, rich.progress, rich.table

def opened(descriptor):
    try:
        return os.fstat(descriptor)[:3]
    except OSError:
        return None

def state():
    return [dict(os.environ), [*map(opened, range(16))], [*map(str, warnings.filters)], str(warnings.showwarning),
            str(sys.excepthook), [str(signal.getsignal(n)) for n in signal.valid_signals()]]

def forget():
    for name in [name for name in sys.modules if name.split(".")[0] == "ilnrepro"]:
        del sys.modules[name]

before = state()
import ilnrepro
names = {module.name for module in pkgutil.walk_packages(ilnrepro.__path__, "ilnrepro.")} - {"ilnrepro.keras"}
for name in names:
    forget()
    importlib.import_module(name)
loaded = sorted({"tensorflow", "keras", "scipy", "SimpleITK"} & set(sys.modules))
print(json.dumps([sorted(names), before == state(), loaded]))
"""


def python(code, *, before="", **options):
    """What a fresh process prints, as JSON, that runs the code; it inherits nothing that could hide a setting."""
    environment = {key: tiny.environment()[key] for key in ("PATH", "PYTHONPATH", "COLUMNS")}
    done = subprocess.run(["sh", "-c", f'{before} exec "$0" -c "$1"', sys.executable, code], env=environment,
                          stdout=subprocess.PIPE, encoding="utf-8", timeout=300, check=True, **options)
    return json.loads(done.stdout)


@pytest.mark.parametrize("before", ["", "exec 2>&-;"], ids=["stderr open", "stderr closed"])
def test_import_does_nothing_to_the_process(before):
    names, unchanged, loaded = python(IMPORTS, before=before)
    assert {"ilnrepro.training.loop", "ilnrepro.norms.kernels.native", "ilnrepro.cli"} <= set(names)
    assert unchanged and not loaded


@pytest.mark.parametrize("before, wanted", [("", "1"), ("TF_ENABLE_ONEDNN_OPTS=0", "0")])
def test_commands_let_tensorflow_take_onednn_unless_told_otherwise(before, wanted):
    code = "import atexit, os, sys; from ilnrepro.console import command; sys.stdout.write('['); " \
        "atexit.register(lambda: print(os.environ['TF_ENABLE_ONEDNN_OPTS'], ']')); command(lambda: 0)"
    assert python(code, before=before) == [int(wanted)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, run files of it without weights, one of them damaged, and inputs that fit nothing."""
    folder = tmp_path_factory.mktemp("startup")
    data = made_up.data(folder / "discs.h5", synthetic=True)
    made_up.runs(data, folder / "results")
    for other in {*(folder / "results").glob("runs/**/*.h5")} - {run_file(folder)}:
        other.unlink()
    (folder / "damaged.h5").write_bytes(run_file(folder).read_bytes()[:3000])
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(folder / "i.png")
    (folder / "empty").mkdir()
    odd = dataset.read(data)
    odd.images, odd.masks = odd.images[:, :30, :30], odd.masks[:, :30, :30]
    dataset.write(folder / "odd.h5", odd)
    return folder


def run_file(folder):
    return sorted((folder / "results").glob("runs/*/*/iln/fold1-lr1.5-*.h5"))[0]


def commands(folder):
    """(a command's words, a part of what it says), those that need SciPy last."""
    data, odd, results, run = folder / "discs.h5", folder / "odd.h5", folder / "results", run_file(folder)

    def training(*, given=data, method="iln", fold=1, rate=0.1, name="quick", further=()):
        return ["ilnrepro", "run", "--data", given, "--results", folder / "new", "--method", method, "--fold", fold,
                "--rate", rate, "--protocol", name, *further]

    def predicting(model, given=folder / "i.png"):
        return ["ilnrepro", "predict", model, given, "--output", folder / "masks"]

    yield from [
        (["ilnrepro", "--help"], "usage: ilnrepro"),
        (["ilnrepro", "methods"], "batch renormalization"),
        (["ilnrepro", "inspect", run], "worst of"),
        (["ilnrepro", "inspect", data, "--json"], '"kind": "data set"'),
        (["ilnrepro", "verify", results], "0 problem(s)"),
        (["data_prep", "--help"], "usage: python -m data_prep"),
        (["experiments", "--help"], "usage: python -m experiments"),
        (["figures", "--help"], "usage: python -m figures"),
        (training(given=folder / "missing.h5"), "no such file"),
        (training(given=folder / "damaged.h5"), "damaged"),
        (training(method="foo"), "method: 'foo' is unknown"),
        (training(method="gn7"), "7 groups do not divide"),
        (training(name="foo"), "protocol: 'foo' is unknown"),
        (training(name="kolarik"), "takes volumes"),
        (training(fold=9), "fold: 9 is not in the data set"),
        (training(rate=-1), "rate: -1.0 must be"),
        (training(given=odd), "sides must be divisible by 16"),
        (training(further=["--form", "foo"]), "form: 'foo' is unknown"),
        (training(further=["--tensorboard", folder / "i.png"]), "cannot be written"),
        (predicting(folder / "missing.h5"), "no such file"),
        (predicting(folder / "damaged.h5"), "damaged"),
        (predicting(run), "holds no weights"),
        (predicting(folder / "empty"), "not an exported model"),
        (predicting(run, folder / "missing.png"), "no such file"),
        (["ilnrepro", "export", run, "--output", folder / "model"], "holds no weights"),
        (["ilnrepro", "inspect", folder / "missing.h5"], "no such file"),
        (["ilnrepro", "inspect", run, "--case", 0], "name the data set"),
        (["ilnrepro", "verify", folder / "empty"], "holds no runs"),
        (["ilnrepro", "summary", "--method", "foo", "--network", "dualnorm-unet"], "method: 'foo' is unknown"),
        (["ilnrepro", "summary", "--size", 100], "sides must be divisible by 16"),
        (["data_prep", "sunnybrook", "--source", folder / "missing.npz", "--output", folder / "x.h5"], "no such file"),
        (["data_prep", "folder", "--source", folder / "empty", "--output", folder / "x.h5"], "images"),
        (["experiments", "run", "--protocol", "quick", "--results", results], "--data: no data set"),
        (["experiments", "run", "--protocol", "quick", "--data", folder / "missing.h5", "--results", results],
         "no such file"),
        (["experiments", "tables", "--results", results, "--methods", "foo"], "method: 'foo' is unknown"),
        (["experiments", "tables", "--results", folder / "empty"], "no run files fit"),
        (["experiments", "plan", "--results", folder / "empty"], "no run files fit"),
        (["experiments", "plan", "--results", results, "--difference", "0"], "no difference in points of Dice"),
        (["experiments", "plan", "--results", results], "no two methods have several seeds on every fold"),
        (["experiments", "dualnorm", "--data", data, "--results", results], "site: not in the data set"),
        (["experiments", "time", "--protocol", "kolarik", "--data", data, "--results", results], "takes volumes"),
        (["figures", "--results", folder / "empty"], "no run files fit"),
        (["experiments", "tables", "--results", results], "Table 2 (SYNTHETIC"),
        (["figures", "--results", results], "figure1-gates"),
    ]


def test_what_needs_no_computing_does_not_load_tensorflow(folder):
    given = list(commands(folder))
    ended = python(COMMANDS, input=json.dumps([list(map(str, words)) for words, _ in given]))
    for (words, part), (said, loaded) in zip(given, ended, strict=True):
        assert part in said, (words, said[-500:])
        needed = {"scipy"} if words[:2] == ["experiments", "tables"] or words[0] == "figures" else set()
        assert set(loaded) <= needed, words
