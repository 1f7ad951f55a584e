"""DualNorm-UNet: Dice on each site's test images in each mode, trained on all sites or on one."""

from experiments.analysis.sites import MODES
from figures.style import BLUE, GREEN, ORANGE, plt, save

_LOOKS = {"none": (ORANGE, "s"), "predicted": (BLUE, "o"), "oracle": (GREEN, "^")}


def draw(folder, rows, about):
    """Draws Dice by site and mode, a panel for each set of training sites.

    Args:
      rows: tidy rows of `experiments.analysis.sites`.
      about: text on data, protocol, n, rates and seeds.
    """
    trained = list(dict.fromkeys(r["trained_on"] for r in rows))
    sites = list(dict.fromkeys(r["site"] for r in rows))
    first = rows[0]["method"], rows[0]["fold"]
    figure, axes = plt.subplots(1, len(trained), figsize=(4.2 * len(trained), 3.1), layout="constrained", sharey=True,
                                squeeze=False)
    for axis, on in zip(axes[0], trained, strict=True):
        for k, (mode, (colour, marker)) in enumerate(_LOOKS.items()):
            for r in rows:
                if (r["trained_on"], r["mode"], r["method"], r["fold"]) == (on, mode, *first):
                    x = sites.index(r["site"]) + 0.18 * (k - 1)
                    axis.plot([x, x], [r["dice_low"], r["dice_high"]], color=colour)
                    axis.plot(x, r["dice_subjects"], marker, color=colour, markersize=5,
                              label=MODES[mode] if r["site"] == "all" else None)
        axis.set_xticks(range(len(sites)), ["all sites" if s == "all" else f"site {s}" for s in sites])
        axis.set(title=f"trained on {'all sites' if on == 'all' else f'site {on} alone'}", xlabel="tested on")
        axis.grid(False, axis="x")
    axes[0, 0].set_ylabel("Dice")
    axes[0, 0].legend(fontsize=7)
    return save(figure, folder, "dualnorm-sites",
                "DualNorm-UNet (Xiao et al. 2021): Dice on each site's test images, mean over subjects with 95 % "
                f"intervals over subjects, and over seeds where there are several, fold {first[1]}. {about} "
                "Every mode takes two steps a batch; the oracle sees the true masks, an upper bound.")
