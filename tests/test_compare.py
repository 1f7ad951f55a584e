"""`ilnrepro compare`: from data to an answer, a page and the command that trains; by its plan, and no other."""

import html
import json
import re
import shlex

import numpy as np
import pytest
import tiny

import ilnrepro
from ilnrepro.comparison import executors
from ilnrepro.errors import InputError
from ilnrepro.norms import METHODS, Normalization, check, method, plugins
from ilnrepro.storage import dataset, runfile
from ilnrepro.studies import defaults, planning

pytestmark = pytest.mark.usefixtures("uncompiled")
GIVEN = ["--methods", "in", "ln", "--protocol", "tiny", "--steps-per-epoch", 5, "--rates", 0.3, 0.1, "--seeds", 2]


def compare(data, results, *further):
    return tiny.command("ilnrepro", "compare", data, "--results", results, *GIVEN, *further)


def discs(folder, subjects=6):
    """The discs of `tiny`, of so many subjects in three folds."""
    data = dataset.read(tiny.discs(folder))
    data.subject = np.array([f"s{i * subjects // len(data)}" for i in range(len(data))])
    dataset.write(folder / "discs.h5", data)
    return folder / "discs.h5"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a comparison that is done, and what its command said."""
    folder = tmp_path_factory.mktemp("compare")
    said = compare(discs(folder), folder / "r")
    assert said.returncode == 0, said.stderr
    return folder, said


def files_of(folder):
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("r/runs/*/*/*/*.h5")}


@pytest.mark.slow
def test_it_ends_with_an_answer_a_page_and_a_command_that_trains(done):
    folder, said = done
    assert "IN" in said.stdout and "LN" in said.stdout and "Cost on this machine" in said.stdout
    assert re.search(r"(LN − IN|IN − LN): [+−]\d", said.stdout)
    page = (folder / "r" / "compare.html").read_text(encoding="utf-8")
    assert "SYNTHETIC" in page and "Discs" in page and "<svg" in page and "src=" not in page and "href=" not in page
    words = shlex.split(said.stdout.partition("on all subjects: ")[2].splitlines()[0])
    assert words[:2] == ["ilnrepro", "train"] and " ".join(words[:3]) in page
    words[words.index("--output") + 1] = folder / "model.h5"
    trained = tiny.command(*words)
    assert trained.returncode == 0, trained.stderr
    run = runfile.read(folder / "model.h5")
    assert run.expected["subjects"] == 6 and run.configuration.protocol.steps_per_epoch == 5


@pytest.mark.slow
def test_its_runs_are_those_of_its_plan(done):
    folder, said = done
    made = planning.read(folder / "r")
    assert made.methods == ("in", "ln") and made.rates == (0.3, 0.1) and made.seeds == (0, 1) and made.steps == 10
    assert made.runs == len(files_of(folder)) == 2 * 3 * 3
    assert "18 runs, 0 done before, 18 to do" in said.stderr
    assert set(made.timing) == {"in", "ln"} and all(t.step > 0 and t.memory > 1e7 for t in made.timing.values())
    second = [runfile.read(path).configuration for path in folder.glob("r/runs/*/*/*/*seed1.h5")]
    assert sorted((c.method, c.fold) for c in second) == [(m, k) for m in ("in", "ln") for k in (1, 2, 3)]


@pytest.mark.slow
def test_given_again_it_does_nothing_and_says_the_same(done):
    folder, said = done
    before = files_of(folder)
    again = compare(folder / "discs.h5", folder / "r")
    assert again.stdout == said.stdout and "18 done before, 0 to do" in again.stderr
    assert files_of(folder) == before and "timing" not in again.stderr
    page = html.unescape((folder / "r" / "compare.html").read_text(encoding="utf-8"))
    command = shlex.split(page.rpartition("<pre>")[2].partition("</pre>")[0])
    assert " ".join(command).endswith(f"--steps-per-epoch=5 --rates 0.3 0.1 --seeds 2 --results {folder / 'r'}")
    assert "--protocol" in command and "0 to do" in tiny.command(*command).stderr


@pytest.mark.slow
def test_killed_in_either_stage_it_goes_on_by_its_plan_to_the_same_bits(done, tmp_path):
    folder, said = done
    (tmp_path / "r").mkdir()
    written = json.loads((folder / "r" / "plan.json").read_text("utf-8"))
    (tmp_path / "r" / "plan.json").write_text(json.dumps(written), "utf-8")
    (tmp_path / "discs.h5").write_bytes((folder / "discs.h5").read_bytes())
    for path in folder.glob("r/runs/*/*/*/*.h5"):
        if not re.search("in.*/fold2-lr0.1-seed0|ln.*/fold3-.*seed1", str(path)):
            (copy := tmp_path / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    again = compare(tmp_path / "discs.h5", tmp_path / "r")
    assert again.returncode == 0, again.stderr
    answers = [text.partition("Cost")[0] for text in (said.stdout, again.stdout)]
    assert answers[0] == answers[1]
    for path in folder.glob("r/runs/*/*/*/*.h5"):
        assert tiny.content(path) == tiny.content(tmp_path / path.relative_to(folder)), path


@pytest.mark.slow
@pytest.mark.parametrize("further, message", [
    (["--hours", 3], "another value of hours (2.0, not 3.0)"),
    (["--methods", "in", "iln"], "another value of methods (in ln, not in iln)"),
    (["--seeds", 3], "another value of seeds"), (["--rates", 0.5], "another value of rates"),
    (["--steps-per-epoch", 11], "another value of steps_per_epoch"),
])
def test_another_comparison_in_the_same_folder_is_refused(done, further, message):
    folder, _ = done
    before = files_of(folder)
    said = compare(folder / "discs.h5", folder / "r", *further)
    assert said.returncode == 2 and message in said.stderr and "another --results" in said.stderr, said.stderr
    assert files_of(folder) == before


@pytest.mark.slow
def test_another_reference_is_another_view(done):
    folder, _ = done
    for reference, other in (("in", "LN"), ("ln", "IN")):
        said = compare(folder / "discs.h5", folder / "r", "--reference", reference)
        assert f"{other} − {reference.upper()}: " in said.stdout


@pytest.mark.parametrize("case, further, message", [
    ("three subjects", [], "fold 1 has 1 subject"), ("empty fold", [], "fold 2 has no pixel of the structure LV"),
    ("", ["--methods", "in"], "give two or more"), ("", ["--methods", "in", "in"], "give two or more, each once"),
    ("", ["--methods", "in", "gn7"], "7 groups do not divide"), ("", ["--methods", "in", "foo"], "'foo' is unknown"),
    ("", ["--reference", "iln"], "--reference: iln is not one of"), ("", ["--hours", 0], "--hours: 0 is no budget"),
    pytest.param("", ["--hours", 1e-4], "allow no comparison of 2 methods on 3 folds", marks=pytest.mark.slow),  # timed
    ("", ["--seeds", 1], "--seeds: 1"),
    ("", ["--protocol", "kolarik"], "takes volumes"), ("", ["--plugin", "none.py"], "no such file"),
    ("", ["--rates", -1], "rate"),
])
def test_bad_input_is_one_line_and_nothing_is_begun(tmp_path, case, further, message):
    data = discs(tmp_path, 3 if case == "three subjects" else 6)
    if case == "empty fold":
        found = dataset.read(data)
        found.masks[found.fold == 2] = 0
        dataset.write(data, found)
    said = compare(data, tmp_path / "r", *further)
    assert said.returncode == 2 and message.lower() in said.stderr.lower() and "Traceback" not in said.stderr, said
    assert not list((tmp_path / "r").glob("**/*.*")) if (tmp_path / "r").exists() else True


def test_a_run_that_fails_is_told_and_tried_again(tmp_path, monkeypatch):
    here = []

    def failing(jobs, results, _, options, advance):
        for job in jobs:
            fails = not here and job.configuration.fold == 2
            here.append(job)
            yield job, "killed (signal 9)" if fails or len(here) > 3 else None

    data = discs(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "measure_timing",
                      lambda *_: {m: planning.Timing(0.01, 1, 1, 10**8) for m in ("in", "ln")})
        patch.setitem(executors.EXECUTORS, "local", failing)
        with pytest.raises(InputError, match="runs failed, runs/discs/.*killed.*tries them again"):
            ilnrepro.compare(data, ["in", "ln"], results=tmp_path / "r", protocol="tiny", rates=[0.3], seeds=2)
    assert planning.read(tmp_path / "r").seeds == (0, 1) and not (tmp_path / "r" / "compare.html").exists()


# Which protocol suits.

def shaped(*shape):
    n = 4
    images = np.random.default_rng(0).random((n, *shape)).astype(np.float32)
    return ilnrepro.data_set(images, images > 0.5, ["a", "b", "c", "d"], structure="LV")


@pytest.mark.parametrize("shape, name, steps, shrink", [
    ((256, 224), "lite", None, 2), ((64, 64), "quick", 4 * 7, 1), ((200, 200), "quick", 4 * 7, 1),
    ((16, 64, 64), "kolarik-quick", None, 1), ((16, 192, 256), "kolarik-quick", None, 2)])
def test_a_protocol_suits_the_images(shape, name, steps, shrink):
    chosen = defaults.suitable_protocol(shaped(*shape))
    assert (chosen.name, chosen.steps_per_epoch, chosen.shrink) == (name, steps, shrink)
    assert defaults.suitable_protocol(shaped(*shape), "tiny").name == "tiny"
    assert defaults.suitable_protocol(shaped(*shape), epochs=5).epochs == 5


@pytest.mark.parametrize("shape, changes, steps", [
    ((64, 64), {}, 10), ((256, 256), {"batch": 8}, 8), ((16, 64, 64), {}, 8), ((16, 192, 256), {}, 5),
    ((32, 192, 256), {"shrink": 1}, 1), ((16, 512, 512), {"batch": 9, "shrink": 1}, 1)])
def test_a_short_run_that_is_timed_is_shorter_where_steps_are_large(shape, changes, steps):
    data = shaped(*shape)
    assert planning._timed_steps(data, defaults.suitable_protocol(data, **changes)) == steps


# Methods of one's own.

MINE = """
from ilnrepro.norms import register
from ilnrepro.norms.gates import SIGMOID
from ilnrepro.norms.rules import INSTANCE, LAYER, Mix, Normalize, group

{}
register("mine", {}, title="Mine")
"""
RULES = {
    "good": ("", "Mix(SIGMOID, INSTANCE, group(4))"),
    "raises when it is used": ("class Own(Normalize):\n    def __call__(self, *_):\n        return 1 / 0", "Own()"),
    "another reference": ("class Own(Normalize):\n    def reference(self, x, *rest):\n"
                          "        return 2 * super().reference(x, *rest)", "Own()"),
    "no gradient": ("from ilnrepro import tf\nclass Own(Normalize):\n"
                    "    def __call__(self, y, p, c):\n        y = super().__call__(y, p, c)\n"
                    "        return y._replace(scale=tf.stop_gradient(y.scale))\n"
                    "    def reference(self, x, p, c, gamma=None, beta=None):\n"
                    "        m, v = tf.nn.moments(x, [*range(1, x.shape.rank - 1)], keepdims=True)\n"
                    "        s = tf.stop_gradient(tf.math.rsqrt(v + c.settings.epsilon))\n"
                    "        return gamma * (x - m) * s + beta", "Own()"),
    "no rule": ("", "42"), "a name that is taken": ("register('in', INSTANCE)", "INSTANCE"), "raises": ("1 / 0", "0"),
    "no Python": ("def", "0"), "a bad name": ("register('Mine+', INSTANCE)", "INSTANCE"),
}


@pytest.fixture
def plugin(tmp_path):
    """Writes a plug-in with one of RULES; what it registered is gone after the test."""
    def written(rule, name="my_rules.py"):
        (tmp_path / name).write_text(MINE.format(*RULES[rule]), encoding="utf-8")
        return tmp_path / name

    before, loaded = dict(METHODS), dict(plugins._LOADED)
    yield written
    METHODS.clear()
    METHODS.update(before)
    plugins._LOADED.clear()
    plugins._LOADED.update(loaded)


def test_a_method_of_one_s_own_is_used_like_any_other(plugin, tmp_path):
    path, data = plugin("good"), tiny.discs(tmp_path)
    trained = tiny.command("ilnrepro", "train", data, "--method", "mine", "--rate", 0.3, "--protocol", "tiny",
                           "--plugin", path, "--output", tmp_path / "m.h5")
    assert trained.returncode == 0, trained.stderr
    assert method("mine").title == "Mine" and Normalization("mine", 16).mix is not None
    run = runfile.read(tmp_path / "m.h5")
    assert run.configuration.plugin == plugins.load(path) and '"plugin"' in run.configuration.json
    used = tiny.command("ilnrepro", "predict", tmp_path / "m.h5", data, "--plugin", path, "--output", tmp_path / "o")
    assert used.returncode == 0, used.stderr


@pytest.mark.slow
def test_its_runs_need_its_rule_and_no_other_version_of_it(plugin, tmp_path):
    data = tiny.discs(tmp_path)
    train = ["ilnrepro", "train", data, "--method", "mine", "--rate", 0.3, "--protocol", "tiny", "--output",
             tmp_path / "m.h5"]
    said = tiny.command(*train)
    assert said.returncode == 2 and "--plugin" in said.stderr
    tiny.command(*train, "--plugin", plugin("good"))
    changed = plugin("good", "changed.py")
    changed.write_text(changed.read_text("utf-8").replace("group(4)", "LAYER"), "utf-8")
    METHODS.pop("mine")
    plugins._LOADED.clear()
    said = tiny.command("ilnrepro", "predict", tmp_path / "m.h5", data, "--output", tmp_path / "o")
    assert said.returncode == 2 and "give the file that registers it with --plugin" in said.stderr
    said = tiny.command("ilnrepro", "predict", tmp_path / "m.h5", data, "--plugin", changed, "--output", tmp_path / "o")
    assert said.returncode == 2 and "give that one with --plugin" in said.stderr and not (tmp_path / "o").exists()


def test_a_configuration_without_a_plug_in_is_what_it_was():
    for path in sorted(tiny.ROOT.glob("results/*/runs/*/*/in/*.h5"))[::7]:
        run = runfile.read(path)
        assert run.configuration.plugin == "" and "plugin" not in run.configuration.json


@pytest.mark.parametrize("rule, message", [
    ("raises when it is used", "my_rules.py, line 8: ZeroDivisionError"),
    ("raises", "my_rules.py, line 6: ZeroDivisionError"),
    ("no Python", "my_rules.py, line 6: SyntaxError"), ("no rule", "42 is no rule"),
    ("a name that is taken", "there is a method 'in' already"), ("a bad name", "cannot be a method's name"),
    ("another reference", "differs from its reference's"), ("no gradient", "its gradient is no slope"),
])
def test_a_plug_in_with_a_mistake_is_one_line(plugin, rule, message, eagerly):
    said = tiny.command("ilnrepro", "methods", "--check", "mine", "--plugin", plugin(rule))
    assert said.returncode == 2 and message in said.stderr and said.stderr.count("\n") == 1, said.stderr
    assert "mine" not in METHODS or rule not in ("no rule", "raises", "a bad name")


@pytest.mark.parametrize("name", ["in", "gn4", "iln", "bn", "sn", "bin-projected", "none"])
def test_the_package_s_own_methods_pass_the_check(name, eagerly):
    found = check(name)
    assert max(found.output, found.gradient) < 1e-11 and found.slope < 1e-6
    assert found.sees_batch == (name in ("bn", "sn", "bin-projected"))
    assert found.keeps_scale == (name != "none")
    assert found.parameters == {"iln": 1, "sn": 6, "bin-projected": 32}.get(name, 0)


# From Python.

def test_scores_have_an_interval_over_subjects():
    truth, predicted = np.zeros((2, 4, 4, 4), np.uint8)
    truth[:, :2], predicted[:, 1:3] = 1, 1
    predicted[3] = truth[3]
    found = ilnrepro.scores(truth, predicted, ["a", "a", "b", "b"])
    assert found.dice.tolist() == [0.5, 0.5, 0.5, 1] and found.subjects == 2
    assert found.mean == pytest.approx((0.5 + 0.75) / 2)
    assert found.high - found.mean == pytest.approx(12.7062 * 0.125, rel=1e-4)
    with pytest.raises(InputError, match="do not belong together"):
        ilnrepro.scores(truth, predicted[:2])


def test_a_data_set_from_arrays_keeps_subjects_together(tmp_path):
    data = shaped(16, 16)
    path = ilnrepro.write_data(tmp_path / "d.h5", data)
    back = ilnrepro.read_data(path)
    assert back.folds == [1, 2, 3] and len(set(back.name)) == 4
    with pytest.raises(InputError, match="only one fold"):
        ilnrepro.data_set(data.images[:1], data.masks[:1], ["a"], structure="LV")


def test_a_segmenter_takes_an_image_or_several(tmp_path):
    trained = tiny.command("ilnrepro", "train", tiny.discs(tmp_path), "--method", "in", "--rate", 0.3, "--protocol",
                           "tiny", "--output", tmp_path / "m.h5")
    assert trained.returncode == 0, trained.stderr
    segment = ilnrepro.Segmenter(tmp_path / "m.h5")
    images = np.random.default_rng(0).random((3, 20, 30))
    several, one = segment(images), segment(images[1])
    assert several.mask.shape == (3, 20, 30) and one.mask.shape == (20, 30) and one.uncertainty is None
    # Of several images sums are taken in another order: float32 rounding through the layers, and no other image.
    np.testing.assert_allclose(several.probability[1], one.probability, atol=1e-4)
    for wrong, message in ((images[0, 0], "neither"), (np.full((4, 4), np.nan), "NaN")):
        with pytest.raises(InputError, match=message):
            segment(wrong)


def test_every_public_name_is_there_and_typed():
    stub = (tiny.ROOT / "ilnrepro" / "__init__.pyi").read_text("utf-8")
    named = set(re.findall(r" as (\w+)$", stub, re.MULTILINE))
    assert named == set(ilnrepro._PUBLIC)
    assert all(getattr(ilnrepro, name).__doc__ for name in named) and named <= set(dir(ilnrepro))
    page = (tiny.ROOT / "docs" / "python.md").read_text("utf-8")
    assert all(f"ilnrepro.{name}" in page for name in named - {"LabelMap", "Scores", "Segmentation"})
    with pytest.raises(AttributeError, match="no attribute 'foo'"):
        ilnrepro.foo  # noqa: B018
