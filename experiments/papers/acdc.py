"""Facts about the ACDC data that several papers need: the word in its title, the command that prepares it, and what it
stands in for."""

TITLE = "ACDC"
PREPARATION = {TITLE: "python -m data_prep acdc --source SOURCE --structure rv --output {}"}
STAND_IN = {TITLE: "a stand-in for the paper's images, which are not public: 100 patients, another scanner and reader"}
