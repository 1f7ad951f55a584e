"""What any comparison of methods needs: grids of runs, scores, the choice of rates, intervals, tables."""
