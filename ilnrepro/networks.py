"""The table of networks, by the name that a protocol gives.

Each is made by (method, seed, settings, form, initializer) and has `dimensions` (2 for images, 3 for volumes),
`initializers` (the names it knows, its default first), `start_channels` (of the first level), `pools`, `layers` (the
head last), `normalizations` and `named_variables`; called with images `[N, ..., 1]` it gives class scores
`[N, ..., classes]`, see `losses.margin`.
"""

from ilnrepro.res_unet import ResUNet3D
from ilnrepro.unet import UNet

NETWORKS = {"unet": UNet, "res-unet-3d": ResUNet3D}
