"""The paper's Table 1: seconds for an epoch and for a prediction, with ratios to no normalization."""

from experiments.papers.kolarik.printed import published_rows
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms import method as method_row

STEM = "kolarik-table1"


def _with_paper(measured):
    """Tidy rows with seconds for an epoch and for a volume, and the paper's numbers and ratios."""
    published = published_rows(1)
    rows = []
    for row in measured["rows"]:
        paper, none = published.get(row["method"]), published["none"]
        seconds = {column: float(paper[column]) if paper else None
                    for column in ("seconds_per_epoch", "prediction_seconds")}
        rows.append({
            "method": row["method"], "parameters": row["parameters"],
            "seconds_per_epoch": row["step_seconds"] * measured["epoch_slabs"], "epoch_ratio": row["step_ratio"],
            "prediction_seconds": row["prediction_seconds"] * measured["volume_slabs"],
            "prediction_ratio": row["prediction_ratio"],
            **{f"published_{column}": value for column, value in seconds.items()},
            **{f"published_{ratio}": seconds[column] / float(none[column]) if paper else None for ratio, column in
               (("epoch_ratio", "seconds_per_epoch"), ("prediction_ratio", "prediction_seconds"))}})
    return rows


def caption(measured):
    """The caption of the table."""
    m = measured
    return (f"Table 1 of Kolarik et al. 2020: seconds for one epoch of {m['epoch_slabs']} slabs and for the prediction "
            f"of one volume of {m['volume_slabs']} slabs, the numbers of slabs from the data set {m['dataset']} "
            f"({'SYNTHETIC, ' if m['synthetic'] else ''}fold 1 tested), each slab {m['slab']}×{m['size']}×{m['size']}, "
            f"batch {m['batch']}; step and prediction measured by themselves, medians of {m['rounds']} rounds in "
            f"turns; ratios to no normalization, round by round. {m['device']}, {m['threads']} threads, {m['kernels']} "
            f"kernels, TensorFlow {m['tensorflow']}. 'published' is the paper's, slabs of 16×256×256 on an Nvidia RTX "
            "2080 Ti, the numbers of slabs not stated: only the ratios compare.")


def build(measured):
    """(`Sheet`, tidy rows) of a measurement of `measure.epoch_time`."""
    rows = _with_paper(measured)

    def fixed(value, digits):
        return "" if value is None else f"{value:.{digits}f}"

    body = [[method_row(row["method"]).title, fixed(row["seconds_per_epoch"], 1), fixed(row["epoch_ratio"], 2),
             fixed(row["published_seconds_per_epoch"], 0), fixed(row["published_epoch_ratio"], 2),
             fixed(row["prediction_seconds"], 2), fixed(row["prediction_ratio"], 2),
             fixed(row["published_prediction_seconds"], 0), fixed(row["published_prediction_ratio"], 2),
             f"{row['parameters']:,}"] for row in rows]
    headings = ["Method", "s an epoch", "ratio to none", "published s", "published ratio", "s a prediction",
                "ratio to none", "published s", "published ratio", "parameters"]
    table = Sheet("Table 1 of Kolarik et al. 2020 (only the ratios compare with the paper's)", caption(measured),
                  headings, body)
    return table, rows
