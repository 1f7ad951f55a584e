"""The experiments of the papers: grids of runs, tables, costs. Tables are made from run files alone."""
