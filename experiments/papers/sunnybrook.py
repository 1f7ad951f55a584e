"""Facts about the Sunnybrook data that several papers need: the word in its title, its misaligned subjects, and the
command that prepares it."""

TITLE = "Sunnybrook"
MISALIGNED = {"SC-N-06": "whose labels are misaligned in the source"}
PREPARATION = {TITLE: "python -m data_prep sunnybrook --source SOURCE --output {}"}
# The .npz of these images tells no pixel size. The two subjects at hand in the raw form have 1.367 mm, and Radau et al.
# 2009 give a field of view of 320 mm for 256 pixels, 1.25 mm; this lies between.
PIXEL = 1.3
