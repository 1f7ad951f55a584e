"use strict";
// A chart's picker: what is not picked fades, and the picked curve is drawn on top.
for (const chart of document.querySelectorAll(".chart")) {
  const picker = chart.querySelector("select");
  picker.addEventListener("change", () => {
    for (const item of chart.querySelectorAll("[data-series]")) {
      const picked = item.dataset.series === picker.value;
      item.classList.toggle("faded", picker.value !== "" && !picked);
      item.classList.toggle("picked", picked);
    }
    for (const curve of chart.querySelectorAll("polyline.picked")) curve.parentNode.append(curve);
  });
}
// A browser of cases: which are shown, and in which order; a case without a score comes last.
for (const browser of document.querySelectorAll(".browser")) {
  const [which, by, order] = ["which", "by", "order"].map(name => browser.querySelector(`select.${name}`));
  const list = browser.querySelector(".cases");
  const cases = [...list.children];
  const score = one => parseFloat(one.dataset.scores.split(" ")[by.value]);
  const compare = (a, b) => {
    const [x, y] = [score(a), score(b)];
    return isNaN(x) - isNaN(y) || order.value * (x - y) || cases.indexOf(a) - cases.indexOf(b);
  };
  const show = () => {
    list.append(...[...cases].sort(compare));
    for (const one of cases) one.hidden = which.value !== "" && !one.classList.contains(which.value);
    browser.querySelector(".shown").textContent = `${cases.filter(one => !one.hidden).length} cases`;
    list.scrollTop = 0;
  };
  for (const control of [which, by, order]) control.addEventListener("change", show);
  const outlines = browser.querySelector(".outlines");
  outlines.addEventListener("change", () => browser.classList.toggle("bare", !outlines.checked));
  show();
}
