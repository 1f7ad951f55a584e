"""Kolarik, Burget and Riha 2020: normalizations at batch 1 in a 3-D Res-U-Net."""
