"""The report: what it says, that names cannot harm it, and that it works in a real browser."""

import html.parser
import json
import re
import shlex
import shutil
import sys

import made_up
import numpy as np
import pytest
import tiny
from made_up import CHANNELS, HOSTILE, LAYERS

from ilnrepro.errors import InputError
from ilnrepro.storage import dataset, runfile

pytest.importorskip("jinja2", reason="the extra `report` is not installed")

from figures import __main__ as figures_command
from figures import examples, forest, learning, rates, style
from figures.crop import box
from figures.report import cases, charts, page
from figures.report import command as report_command

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(results folder, data set file, report) by the real command."""
    folder = tmp_path_factory.mktemp("report")
    data = made_up.data(folder / "hostile-lv.h5")
    results = made_up.runs(data, folder / "results")
    rows = [{"form": f, "method": m, "seconds_per_200_iterations": 20.0, "rounds": [2.0, 2.1], "parameters": p}
            for f in ("fused", "reference") for m, p in (("in", 100), ("iln", 122))]
    (results / "cost.json").write_text(json.dumps({
        "rows": rows, "size": 256, "batch": 1, "threads": 2, "kernels": "native", "device": "CPU", "tensorflow": "2"}))
    done = tiny.command("figures", "report", "--results", results, "--data", data)
    assert done.returncode == 0, done.stderr
    return results, data, results / "report.html"


@pytest.fixture(scope="module")
def text(made):
    return made[2].read_text(encoding="utf-8")


class Page(html.parser.HTMLParser):
    """The elements of a page, [(tag, attributes)], and the text of its body."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = [tag] if tag in ("style", "script") else []

    def handle_endtag(self, tag):
        self._inside = []

    def handle_data(self, data):
        if not self._inside:
            self.words.append(data)


def report(*words):
    return figures_command.main(["report", *map(str, words)])


def test_it_says_all_that_it_should(text):
    said = " ".join(Page(text).words)
    for words in ("Verdicts", "ILN is better than None (LV)", "reproduced", "Table 3", "LV published", "0.852±0.194",
                  "Every rate", "3D", "1C", "rule 'cross-fold'", "IoU", "ρ of ILN",
                  "ρ₁ − ρ₂ of Softmax", "Training loss", "among the worst", "drawn at random", "ms a step",
                  "ratio to IN", "python -m figures report --results", "python -m experiments tables --results",
                  "--method iln --fold 1 --rate"):
        assert words in said, words
    for caption in re.findall(r"<figcaption id.*?</figcaption>", text, re.DOTALL):
        assert "ade by" in caption
        if "Cost:" not in caption and "Training time" not in caption:
            for words in ("Sunnybrook", "Protocol quick", "1.5, 0.1", "Seeds 0", "ule"):
                assert words in caption, (words, caption)


def test_names_are_text_and_nothing_is_fetched(text):
    page = Page(text)
    said = " ".join(page.words)
    for name in HOSTILE:
        assert name in said, name
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [tag for tag, _ in page.elements if tag == "img"]
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], tag
        assert "src" not in attributes and "srcset" not in attributes and tag != "iframe"
        for key in ("href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:")), attributes
    assert "url(" not in text and "@import" not in text and "http" not in text.replace("http-equiv", "")
    assert len(text.encode()) < 10_000_000


def test_the_same_inputs_give_the_same_bytes(made, tmp_path):
    results, data, path = made
    report("--results", results, "--data", data, "--output", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_without_the_data_set_it_says_what_is_missing(made, tmp_path):
    results, _, _ = made
    report("--results", results, "--output", tmp_path / "bare.html")
    bare = (tmp_path / "bare.html").read_text(encoding="utf-8")
    page = Page(bare)
    said = " ".join(" ".join(page.words).split())
    for words in ("The images are not shown", "--data build/data/hostile-lv.h5", "python -m data_prep sunnybrook"):
        assert words in said, words
    assert not [a for tag, a in page.elements if tag == "image"]
    shown = [a for tag, a in Page(bare[bare.index('id="cases"'):]).elements if a.get("class") == "truth"]
    known, in_all = map(int, re.search(r"only (\d+) of these (\d+) cases", said).groups())
    assert 0 < known == len(shown) < in_all


def test_synthetic_data_say_so_and_judge_nothing_and_variants_commands_name_them(tmp_path):
    data = made_up.data(tmp_path / "phantom.h5", synthetic=True)
    results = made_up.runs(data, tmp_path / "results", epsilon=1e-4)
    report("--results", results, "--epsilon", "1e-4", "--protocol", "quick")
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "SYNTHETIC data judge no claim" in text and "<title>SYNTHETIC" in text and "not reproduced" not in text
    for caption in re.findall(r"<figcaption id.*?</figcaption>", text, re.DOTALL):
        assert "SYNTHETIC" in caption or "Training time" in caption, caption
    commands = set(re.findall(r"python -m (experiments tables|figures report|figures)( --results[^<]*)", text))
    assert {name for name, _ in commands} == {"experiments tables", "figures report", "figures"}
    for _, options in commands:
        assert shlex.split(options)[2:5] == ["--protocol", "quick", "--epsilon=0.0001"]


def test_mistakes_get_one_line(made, tmp_path, monkeypatch, capsys):
    results, _, _ = made
    other = made_up.data(tmp_path / "hostile-lv.h5")
    data = dataset.read(other)
    data.masks[0, 0, 0] ^= 1
    dataset.write(other, data)
    report("--results", results, "--data", other, "--output", tmp_path / "a.html")
    assert "not the data set of these runs" in capsys.readouterr().err
    monkeypatch.setattr(report_command, "LIMIT", 1000)
    with pytest.raises(InputError, match="more than"):
        report("--results", results, "--output", tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"ilnrepro\[report\]"):
        report("--results", results, "--output", tmp_path / "c.html")


@pytest.mark.slow
def test_figures_of_rates_and_differences_are_drawn(made, tmp_path):
    shutil.copytree(made[0] / "runs", tmp_path / "runs")
    figures_command.main(["--results", str(tmp_path)])
    for name in ("rates", "forest"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000


def test_a_grid_holds_means_and_marks():
    rows = [{"structure": "LV", "method": m, "rate": rate, "fold": k, "seed": 0, "dice": d, "status": s}
            for m, rate, k, d, s in (("iln", 1.0, 1, 0.8, "complete"), ("iln", 1.0, 2, 0.6, "complete"),
                                     ("none", 1.0, 1, 0.0, "diverged"), ("none", 1.0, 2, 0.0, "collapsed"),
                                     ("none", 0.1, 1, 0.5, "complete"))]
    grid = rates.grids(rows)["LV"]
    assert grid.methods == ["none", "iln"] and grid.rates == [1.0, 0.1]
    np.testing.assert_allclose(grid.dice, [[0, 0.5], [0.7, np.nan]])
    assert grid.marks == [["1D 1C", "1 of 2 folds"], ["", ""]]
    np.testing.assert_allclose(grid.limits, (0.45, 0.7))


def test_a_forest_is_of_the_claims_or_else_of_all_differences():
    row = {"structure": "LV", "measure": "dice", "without": "", "other": "in", "rule": "test", "difference": 0.01,
           "low": -0.01, "high": 0.03}
    others = [row, row | {"without": "SC-N-06"}, row | {"measure": "iou"}, row | {"rule": "cross-fold"}]
    found, = forest.rows(None, others, "test")
    assert found == ("ILN − IN", "LV", "iln", "in", found.paper, (0.01, -0.01, 0.03), "") and found.texts[0] == ""
    claim = {"claim": "A is better (LV)", "structure": "LV", "first": "a", "second": "b", "verdict": "no data",
             "paper_difference": 0.02, "paper_low": -0.01, "paper_high": 0.05,
             **dict.fromkeys(("difference", "low", "high"), np.nan)}
    assert len(forest.rows([claim], others, "test")) == 1
    one, other = forest.rows([claim | {"verdict": "undecided"}, claim | {"structure": "RV"}], others, "test")
    assert one[:5] == ("A is better", "LV", "a", "b", (0.02, -0.01, 0.05)) and one.texts == ("+2.00 ± 3.0", "")


def test_what_lies_far_out_does_not_stretch_the_forest():
    near = forest.Row("a", "LV", "a", "b", (0.02, -0.5, 0.5), (0.01, -0.01, 0.03), "")
    far = near._replace(ours=(0.189, 0.1, 0.3))
    assert forest.within_axis([near, far]) == [near] and forest.within_axis([far]) == [far]
    low, high = forest.axis_limits([near])
    assert -3 < low < -1 and 3 < high < 5


def test_the_legend_of_gates_names_the_curves_that_it_stands_for(made):
    run = runfile.read(next((made[0] / "runs").rglob("iln/fold1-lr1.5-*.h5")))
    chart, = page._gates({("iln", "LV", 1): run}, ["iln"], "")
    names = [f"{layer} ({channels} channels)" for layer, channels in zip(LAYERS, CHANNELS, strict=True)]
    assert [one.label for one in chart.series] == names
    assert chart.final_values == [(name, [f"{run.rho[-1, k, 0]:.3f}"]) for k, name in enumerate(names)]


def test_figure_2_shows_truth_red_prediction_green_and_both_yellow():
    truth, predicted = np.mgrid[:2, :2].astype(bool)
    colours = {(False, False): (0.93, 0.93, 0.93), (True, False): (0.84, 0.37, 0), (False, True): (0, 0.62, 0.45),
               (True, True): (0.94, 0.89, 0.26)}
    for (t, p), colour in colours.items():
        np.testing.assert_allclose(examples.rgb_picture(None, truth, predicted)[int(t), int(p)], colour, atol=0.005)
    image = np.full([2, 2], 0.2)
    image[0, 0] = 100  # a bright spot
    assert examples.rgb_picture(image, ~truth & truth, None).max() == 1


def test_figure_2_shows_the_hardest_cases_and_others(made):
    by_fold = {}
    for path in (made[0] / "runs").rglob("*-lr0.1-*.h5"):
        run = runfile.read(path)
        if run.test:
            by_fold.setdefault(("LV", run.configuration.fold), {})[run.configuration.method] = run
    cases = examples.select_cases(by_fold)
    assert len(set(cases)) == examples.HARD + examples.RANDOM
    means = {(key, i): np.mean([run.dice[run.examples[i]] for run in of_case.values()])
             for key, of_case in by_fold.items() for i in range(len(next(iter(of_case.values())).examples))}
    hardest = sorted(means, key=means.get)[:examples.HARD]
    assert [case[:2] for case in cases if case[2]] == hardest


def test_no_two_curves_look_alike():
    looks = [style.line_style(n) for n in range(32)]
    for mark in ("dashes", "marker"):
        assert len({(one["color"], one[mark]) for one in looks}) == 32


def test_outlines_lie_on_their_pixels(made):
    _, data, _ = made
    mask = np.zeros([8, 8], np.uint8)
    mask[2, 3] = 1
    points = np.array([p.split(",") for p in cases._path(mask).strip("MZ").split()], float)
    np.testing.assert_allclose(points.mean(0), [3.5, 2.5])
    assert cases._path(np.zeros([8, 8])) == "" and cases._path(None) == ""
    for one in dataset.read(data).masks[:20]:
        left, top, width, height = box([one])
        assert one[top:top + height, left:left + width].sum() == one.sum() and width == height
    assert box([np.ones([8, 6])]) == (0, 0, 6, 8)


def test_the_worst_thirty_and_thirty_at_random(made):
    results, data, _ = made
    folds = {}
    for path in sorted((results / "runs").rglob("*-lr0.1-*.h5")):
        run = runfile.read(path)
        folds.setdefault(run.configuration.fold, {})[run.configuration.method] = run
    found = cases.browser_cases(folds, ["none", "in", "iln"], dataset.read(data))
    by_hand = sorted(float(np.mean([runs[m].dice[i] for m in ("none", "in", "iln")]))
                     for runs in folds.values() for i in range(len(runs["in"].dice)))
    worst = [case for case in found if case.worst]
    np.testing.assert_allclose([case.mean for case in worst], by_hand[:30])
    assert sum(case.random for case in found) == 30 and all(case.worst or case.random for case in found)
    assert all(case.picture and case.truth for case in found)
    del folds[1]["none"]
    for case in cases.browser_cases(folds, ["none", "iln"], None):
        assert case.words[0] == ("not run" if case.fold == 1 else f"{case.scores[0]:.3f}")
        assert (case.scores[0] is None) == (case.fold == 1)


def test_one_loss_out_of_all_bounds_does_not_hide_the_others():
    loss = np.linspace(2, 1, 101)
    loss[3] = 1e30
    steps, shown = learning.running_median(loss, 5)
    assert (steps[0], steps[-1], len(shown)) == (5, 101, 97)
    np.testing.assert_allclose(shown[10:], loss[12:-2])
    assert shown.max() < 2
    lines = {"LV-1": {0: (np.arange(2), np.array([0.01, 1e30]))}}
    wide = charts.lay_out("loss", "", "method", ("step", "loss"), [charts.Series("None", "#000")], lines,
                        {"LV-1": {}}, "", [], log=True)
    assert len(wide.panels[0].y_ticks) >= 3


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium's driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver here")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(DRIVER), options=options)
    yield driver
    driver.quit()


@pytest.fixture
def browser(made, chromium):
    """The driver with the report open; the console must stay silent, and nothing but the file be requested."""
    address = made[2].as_uri()
    chromium.get(address)
    yield chromium
    assert not chromium.get_log("browser")
    requested = [message["params"]["request"]["url"] for message in
                 (json.loads(entry["message"])["message"] for entry in chromium.get_log("performance"))
                 if message["method"] == "Network.requestWillBeSent"]
    assert address in requested and not {url for url in requested if not url.startswith("data:")} - {address}


def choose(browser, selector, value):
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("css selector", selector)).select_by_value(value)


@pytest.mark.slow
def test_browser_shows_names_as_text(browser):
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return document.images.length") == 0
    shown = browser.execute_script("return document.body.innerText")
    for name in HOSTILE:
        assert name in shown, name
    pictures = "return [...document.querySelectorAll('image')].map(i => i.getBoundingClientRect().width)"
    assert min(browser.execute_script(pictures)) > 50


@pytest.mark.slow
def test_browser_opens_a_claim_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    browser.execute_script("[...document.querySelectorAll('.claim')].find("
                           "c => c.textContent.includes('ILN is better than IN')).querySelector('summary').focus()")
    assert not browser.find_elements("css selector", ".claim[open]")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    claim, = browser.find_elements("css selector", ".claim[open]")
    assert claim.find_element("css selector", ".subjects").is_displayed()
    assert "Both at their worst" in claim.text and "ILN is better on" in claim.text
    assert len(claim.find_elements("css selector", ".pair .tile")) >= 6


@pytest.mark.slow
def test_browser_picks_a_layer(browser):
    opacity = ("return [...document.querySelectorAll('#rho-iln polyline')].map("
               "c => [c.dataset.series, c.classList.contains('faded')])")
    assert not any(faded for _, faded in browser.execute_script(opacity))
    choose(browser, "#rho-iln select", "1")
    found = browser.execute_script(opacity)
    assert len(found) == 3 * len(LAYERS) and all(faded == (k != "1") for k, faded in found)
    assert not any(faded for _, faded in browser.execute_script(opacity.replace("rho-iln", "learning")))
    choose(browser, "#rho-iln select", "")
    assert not any(faded for _, faded in browser.execute_script(opacity))


@pytest.mark.slow
def test_browser_picks_a_layer_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    browser.execute_script("document.querySelector('#rho-iln select').focus()")
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    picked = "return [...new Set([...document.querySelectorAll('.picked')].map(c => c.dataset.series))]"
    assert browser.execute_script(picked) == ["0"]


@pytest.mark.slow
def test_browser_sorts_and_chooses_cases(browser):
    scores = ("return [...document.querySelectorAll('.case')].filter(c => c.offsetParent).map("
              "c => parseFloat(c.dataset.scores.split(' ')[arguments[0]]))")
    n = len(browser.find_elements("css selector", ".case"))
    names = [o.text for o in browser.find_elements("css selector", ".by option")]
    assert names == ["mean Dice of the methods", "Dice of None", "Dice of IN", "Dice of ILN", "Dice of Softmax"]
    for column in (0, 3):
        choose(browser, ".by", str(column))
        choose(browser, ".order", "1")
        found = browser.execute_script(scores, column)
        assert len(found) == n and found == sorted(found) and found[0] < found[-1]
        choose(browser, ".order", "-1")
        assert browser.execute_script(scores, column) == sorted(found, reverse=True)
    choose(browser, ".which", "worst")
    assert len(browser.execute_script(scores, 0)) == 30
    assert browser.find_element("css selector", ".shown").text == "30 cases"
    choose(browser, ".which", "")
    browser.find_element("css selector", ".outlines").send_keys(" ")
    assert not browser.find_element("css selector", ".case .predicted").is_displayed()


@pytest.mark.slow
def test_browser_fits_a_telephone(browser):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True})
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
