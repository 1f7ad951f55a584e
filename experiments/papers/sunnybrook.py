"""What papers on the Sunnybrook data share: how the data set is known, and whose labels are wrong."""

TITLE = "Sunnybrook"
MISALIGNED = {"SC-N-06": "whose labels are misaligned in the source"}
PREPARATION = {TITLE: "python -m data_prep sunnybrook --source SOURCE --output {}"}
