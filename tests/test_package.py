"""The package as its users get it: built, installed into a fresh environment, and used from another folder."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny
from PIL import Image

import ilnrepro
from ilnrepro.comparison import executors
from ilnrepro.storage import runfile

pytestmark = pytest.mark.slow
LEFT_OUT = shutil.ignore_patterns(".*", "build", "results", "*.egg-info", "__pycache__")
SHORT = ["--protocol", "quick", "--steps-per-epoch", "3", "--epochs", "1", "--fold", "1", "--rate", "0.3"]

IN_KERAS = """
import keras, numpy as np
from ilnrepro.keras import Normalization
from ilnrepro.norms.kernels import native
assert native.available()
keras.utils.set_random_seed(0)
x = inputs = keras.Input([16, 16, 1])
x = keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(x)
x = Normalization("iln", relu=True)(x)
model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(x))
model.compile(keras.optimizers.SGD(0.1), "mse")
before = model.get_weights()
rng = np.random.default_rng(0)
model.train_on_batch(rng.normal(size=[2, 16, 16, 1]), rng.normal(size=[2, 16, 16, 1]))
assert all(np.isfinite(b).all() and (a != b).any() for a, b in zip(before, model.get_weights()))
"""

TYPED = '''
from pathlib import Path

import numpy as np

import ilnrepro
from ilnrepro.storage import dataset, runfile
from ilnrepro.ops import metrics
from ilnrepro.use import segmenter
from ilnrepro.errors import InputError
from ilnrepro.keras import Normalization as KerasNormalization
from ilnrepro.norms import METHODS, Normalization, Settings, method
from ilnrepro.protocols import Configuration, Protocol, protocol


def score(model: Path, data: Path) -> float:
    try:
        found: dataset.DataSet = dataset.read(data)
    except InputError as error:
        raise SystemExit(str(error)) from error
    segment = segmenter.load(model)
    masks: np.ndarray = segmenter.in_batches(segment, found.images, batch=4)
    return float(metrics.dice(*metrics.overlap(found.masks, masks)).mean())


def best(files: list[Path]) -> runfile.Run:
    return max(map(runfile.read, files), key=lambda run: float(run.dice.mean()))


quick: Protocol = protocol("quick", batch=4)
configuration = Configuration(dataset="a", dataset_checksum="", structure="LV", method="iln", fold=1, rate=0.3, seed=0,
                              protocol=quick)
path: Path = configuration.path
titles: list[str] = [row.title for row in METHODS.values()]
layer = Normalization("iln", 16, Settings(epsilon=1e-3))
in_keras = KerasNormalization("gn4", relu=True)
segmenter.export(path, "model")
dataset.write("copy.h5", dataset.read("data.h5"))
print(ilnrepro.__version__, method("gn4").description, layer.named_variables)
'''


def environment(**further):
    """This process's, without what would lead to the checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"COLUMNS": "200", **further}


def done(*words, cwd, **further):
    """What a command says; it must succeed."""
    ended = subprocess.run([str(word) for word in words], cwd=cwd, env=environment(**further), capture_output=True,
                           encoding="utf-8", timeout=600)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """(wheel, source archive), each built from a copy of the checkout, so that nothing built before gets in."""
    folder = tmp_path_factory.mktemp("archives")
    shutil.copytree(tiny.ROOT, folder / "copy", ignore=LEFT_OUT)
    done(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", folder, cwd=folder / "copy")
    shutil.rmtree(folder / "copy")
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def installed(archive, folder):
    """The Python of a fresh environment in `folder` that has the archive, and from this one what it needs."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python*/site-packages"))
    # As lines of a .pth file, folders are searched after the environment's own, and their own .pth files, such as that
    # of an editable installation, do nothing.
    theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "theirs.pth").write_text("\n".join(theirs) + "\n", encoding="utf-8")
    done(python, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed",
         archive, cwd=folder)
    return python


@pytest.fixture(scope="module")
def project(archives, tmp_path_factory):
    """Somebody's folder, a git repository of their own, with the wheel installed in `.venv` and a data set."""
    folder = tmp_path_factory.mktemp("project")
    installed(archives[0], folder / ".venv")
    tiny.phantom(folder)
    done("git", "init", "--quiet", cwd=folder)
    done("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message", "a",
         cwd=folder)
    return folder


@pytest.fixture(scope="module")
def use(project, tmp_path_factory):
    """Runs a command of the environment in the project; native kernels are built anew."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return lambda command, *words: done(project / ".venv" / "bin" / command, *words, cwd=project, ILNREPRO_CACHE=cache)


def files(folder):
    """The content of every file of the package `ilnrepro` below `folder`, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "ilnrepro").rglob("*")
            if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_holds_ilnrepro_alone(archives):
    about = f"ilnrepro-{ilnrepro.__version__}.dist-info"
    with zipfile.ZipFile(archives[0]) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist() if not name.startswith(f"{about}/")}
        assert wheel.read(f"{about}/top_level.txt").split() == [b"ilnrepro"]
    assert held == files(tiny.ROOT)
    sources = ("library.cc", "arithmetic.cc", "convolution.cc", "convolution.h", "vectors.h")
    assert {"ilnrepro/py.typed", *(f"ilnrepro/norms/kernels/{name}" for name in sources)} < held.keys()


def test_the_source_archive_installs_the_same(archives, tmp_path):
    python = installed(archives[1], tmp_path / "env")
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    assert files(site) == files(tiny.ROOT)
    assert done(python, "-m", "ilnrepro", "--version", cwd=tmp_path) == f"ilnrepro {ilnrepro.__version__}\n"


def test_the_repositorys_packages_stay_there(project, use):
    where = use("python", "-c", "import ilnrepro; print(ilnrepro.__file__)")
    assert Path(where.strip()).is_relative_to(project / ".venv")
    for name in ("data_prep", "experiments", "figures"):
        assert use("python", "-c", f"import importlib.util; print(importlib.util.find_spec({name!r}))") == "None\n"


def test_it_says_what_it_is_and_can(use):
    assert use("ilnrepro", "--version") == f"ilnrepro {ilnrepro.__version__}\n"
    assert "predict" in use("ilnrepro", "--help")
    assert "instance normalization" in use("ilnrepro", "methods")


def test_a_network_is_trained_used_and_exported(project, use):
    use("ilnrepro", "run", "--data", "tiny-lv.h5", "--results", "results", "--method", "iln", *SHORT, "--keep-weights")
    (path,) = project.glob("results/runs/*/*/*/*.h5")
    run = runfile.read(path)
    assert run.provenance["kernels"] == "native" and run.provenance["ilnrepro"] == ilnrepro.__version__
    assert run.provenance["commit"] == "unknown"  # not that of the repository around the environment
    with h5py.File(project / "tiny-lv.h5") as data:
        Image.fromarray(np.uint8(data["images"][0])).save(project / "image.png")
    use("ilnrepro", "predict", path, "image.png", "tiny-lv.h5", "--output", "masks")
    use("ilnrepro", "export", path, "--output", "model")
    use("ilnrepro", "predict", "model", "image.png", "--output", "again")
    mask, again = (np.array(Image.open(project / folder / "image-mask.png")) for folder in ("masks", "again"))
    assert mask.shape == (32, 32) and np.mean(mask == again) > 0.99  # the export's operations round differently


def test_a_keras_network_takes_the_layer(use):
    use("python", "-c", IN_KERAS)


def test_a_ray_node_needs_ilnrepro_alone(use, tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    (tmp_path / "task").write_bytes(ray.cloudpickle.dumps(executors._task))
    does = (f"import pickle, sys; task = pickle.load(open({str(tmp_path / 'task')!r}, 'rb')); "
            "print(task([sys.executable, '-c', 'exit(\"ended\")', '--data', ''], [], 'data.h5', b'', ''))")
    assert use("python", "-c", does) == "(None, 'ended')\n"


def test_a_users_types_are_checked(project):
    """By mypy, strictly: every name of the public interface is typed, and wrong uses are found."""
    def check(program):
        (project / "program.py").write_text(program, encoding="utf-8")
        return subprocess.run([sys.executable, "-m", "mypy", "--strict", "--python-executable",
                               project / ".venv" / "bin" / "python", "program.py"], cwd=project, env=environment(),
                              capture_output=True, encoding="utf-8")

    said = check(TYPED)
    assert said.returncode == 0, said.stdout + said.stderr
    said = check(TYPED.replace('protocol("quick", batch=4)', "protocol(4)").replace('"iln", 16', '16, "iln"')
                 .replace("float(run.dice.mean())", "run.score"))
    assert len(re.findall(r"error: .*(arg-type|attr-defined)", said.stdout)) == 4, said.stdout + said.stderr
