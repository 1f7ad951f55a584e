"""What the papers did: grids of runs, tables, costs. Tables are made from run files alone."""
