"""Facts about the Sunnybrook data that several papers need: the word in its title, its misaligned subjects, and the
command that prepares it."""

TITLE = "Sunnybrook"
MISALIGNED = {"SC-N-06": "whose labels are misaligned in the source"}
PREPARATION = {TITLE: "python -m data_prep sunnybrook --source SOURCE --output {}"}
