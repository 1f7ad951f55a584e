"""The jobs of all modes, and the table of Dice by site and mode."""

from experiments.analysis.captions import about_data, format_difference, title_of
from experiments.analysis.sites import MODES
from ilnrepro.comparison import planning
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol
from ilnrepro.storage import dataset

REMARKS = {"dualnorm-quick": " Under-trained: it shows that everything works, not which mode is best."}


def plan(data_path, name, rates, methods=None, train_sites=None, seeds=None, folds=None, **changes):
    """The jobs of all modes, for networks trained on all sites and on one.

    Args:
      data_path: a data set with sites.
      name: of the protocol.
      rates: learning rates.
      methods, seeds, folds: None takes BN, seed 0 and fold 1.
      train_sites: names of sites, where 'all' means all together; None takes 'all' and the first site.
      changes: further fields of the protocol.

    Raises:
      InputError: as `planning.plan`; the data set has no sites.
    """
    data = dataset.read(data_path)
    if "site" not in data.optional:
        raise InputError(f"{data_path}: site: not in the data set; prepare it with sites (`data_prep phantom --sites "
                         "3`, `data_prep sunnybrook --sites pathology`)")
    sites = sorted(set(data.optional["site"].astype(str)))
    return [job for site in train_sites or ["all", sites[0]] for mask in MODES for job in planning.plan(
        [data_path], methods or ["bn"],
        protocol(name, **{**changes, "class_mask": mask, "site": "" if site == "all" else site}),
        rates, seeds or [0], folds or [1])]


def site_table(tidy, records):
    """The `Sheet` of Dice by site and mode, from tidy rows of `analysis.sites`."""
    sites = list(dict.fromkeys(r["site"] for r in tidy))
    lines = {}
    for r in tidy:
        lines.setdefault((r["trained_on"], r["mode"], r["method"], r["fold"]), {})[r["site"]] = r
    body = []
    for (trained, mode, method, fold), by_site in lines.items():
        whole = by_site["all"]
        difference = [whole[key] for key in ("difference", "low", "high")]
        gain = "" if whole["difference"] is None else format_difference(*difference)
        mark = "" if whole["status"] == "complete" else f" ({whole['status']})"
        body.append([trained, MODES[mode] + mark, title_of(method), fold,
                     *(f"{r['dice']:.3f}±{r['std']:.3f}" for r in map(by_site.get, sites)), gain,
                     f"{whole['parameters']:,}"])
    p = records[0].configuration.protocol
    text = ("DualNorm-UNet (Xiao et al. 2021): Dice on the test images of each site, mean±std over images, trained on "
            f"the images of all sites or of one. {about_data(records)} {p.epochs} epochs of {p.steps_per_epoch} "
            f"batches of {p.batch}, images averaged over {p.shrink}×{p.shrink} pixels; each batch takes two optimizer "
            "steps in every mode. baseline: no class mask in either step; predicted mask: the paper's, the second "
            "pass sees the first one's class probabilities; oracle mask: it sees the true masks, which no use of the "
            "network has, an upper bound. over baseline: difference in points of Dice on all test images, mean over "
            "subjects, 95 % interval over subjects, and over seeds where there are several, in brackets. Where a site "
            "was not trained on, its column shows what carries over.")
    text += REMARKS.get(p.name, "")
    title = f"DualNorm-UNet ({'SYNTHETIC, ' if records[0].synthetic else ''}Dice mean±std by site)"
    return Sheet(title, text, ["trained on", "mode", "Method", "fold", *(f"site {s}" if s != "all" else "all sites"
                                                                         for s in sites),
                               "over baseline", "parameters"], body)
