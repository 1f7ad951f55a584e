"""The table of networks, by the name that a protocol gives.

Each is made by (method, seed, settings, form, initializer) and has `dimensions` (2 for images, 3 for volumes),
`initializers` (the names it knows, its default first), `start_channels` (of the first level), `pools`, `layers` (the
head last), `normalizations`, `named_variables` and `choices` (further fields of a protocol that are its own, and the
values that they take); called with images `[N, ..., 1]` it gives class scores `[N, ..., classes]`, see `losses.margin`.
`scores(images, truth)` are those at test time: of a network with class masks after its second pass.
"""

from ilnrepro.networks.dualnorm_unet import DualNormUNet
from ilnrepro.networks.res_unet import ResUNet3D
from ilnrepro.networks.unet import UNet

NETWORKS = {"unet": UNet, "res-unet-3d": ResUNet3D, "dualnorm-unet": DualNormUNet}


def build(configuration):
    """The network of a run."""
    protocol = configuration.protocol
    network = NETWORKS[protocol.network]
    return network(configuration.method, configuration.seed, protocol.settings, protocol.form, protocol.initializer,
                   pools=protocol.pools, **{key: getattr(protocol, key) for key in network.choices})
