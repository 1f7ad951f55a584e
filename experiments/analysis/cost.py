"""The table of cost: seconds for 200 training iterations, and parameters, ILN against IN."""

from pathlib import Path

from ilnrepro.comparison import sheet
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.storage import files

FILE = "cost.json"  # the measurement, in a results folder


def _with_paper(measured, paper):
    """Tidy rows with ratios to IN, and the numbers that the paper publishes."""
    rows = []
    for row in measured["rows"]:
        other = next(r for r in measured["rows"] if r["form"] == row["form"] and r["method"] == "in")
        kept = {key: value for key, value in row.items() if key != "rounds"}
        rows.append({**kept, "ratio_to_in": row["seconds_per_200_iterations"] / other["seconds_per_200_iterations"],
                     "parameters_beyond_in": row["parameters"] - other["parameters"]})
    for name in ("IN", "ILN"):
        seconds = paper[name]["seconds"]
        rows.append({"method": name.lower(), "form": "published", "seconds_per_200_iterations": seconds,
                     "parameters": None, "ratio_to_in": seconds / paper["IN"]["seconds"],
                     "parameters_beyond_in": paper[name]["beyond_in"]})
    return rows


def caption(measured):
    """The caption of the table."""
    return (f"Cost: seconds for 200 training iterations and parameter count, ILN against IN, in both forms; "
            f"{measured['size']}×{measured['size']} images, batch {measured['batch']}, {measured['device']}, "
            f"{measured['threads']} threads, {measured['kernels']} kernels, TensorFlow {measured['tensorflow']}. "
            "'published' is the paper's, on an Nvidia Titan Xp with a batch size that it does not state: only the "
            "ratios compare.")


def build(measured, published):
    """(`Sheet`, tidy rows) of a measurement, beside the numbers of `Paper.cost`."""
    rows = _with_paper(measured, published)
    body = [[row["method"].upper(), row["form"], f"{row['seconds_per_200_iterations']:.1f}",
             f"{row['ratio_to_in']:.3f}",
             "" if row["parameters"] is None else f"{row['parameters']:,}", str(row["parameters_beyond_in"])]
            for row in rows]
    headings = ["Method", "form", "seconds for 200 iterations", "ratio to IN", "parameters", "beyond IN"]
    return Sheet("Cost (only the ratios compare with the paper's)", caption(measured), headings, body), rows


def write(measured, published, results):
    """Writes tables/cost.{md,csv,tex} and the measurement, cost.json, below `results`; returns a screen table."""
    results = Path(results)
    files.write_json(results / FILE, measured)
    table, rows = build(measured, published)
    sheet.write(results / "tables", "cost", table, rows)
    return table.rich()
