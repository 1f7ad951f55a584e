"""The parts of any comparison of methods: grids of runs, scores, the choice of rates, intervals, tables."""
