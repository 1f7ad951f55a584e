"""The table of networks, by the name that a protocol gives, and their scores at test time.

Each is made by (method, seed, settings, form, initializer) and has `dimensions` (2 for images, 3 for volumes),
`initializers` (the names it knows, its default first), `start_channels` (of the first level), `pools`, `layers` (the
head last), `normalizations` and `named_variables`; called with images `[N, ..., 1]` it gives class scores
`[N, ..., classes]`, see `losses.margin`. A network with class masks is passed twice, see `dualnorm_unet`.
"""

from ilnrepro.networks.dualnorm_unet import DualNormUNet
from ilnrepro.networks.res_unet import ResUNet3D
from ilnrepro.networks.unet import UNet

NETWORKS = {"unet": UNet, "res-unet-3d": ResUNet3D, "dualnorm-unet": DualNormUNet}


def build(configuration):
    """The network of a run."""
    protocol = configuration.protocol
    masks = {"class_mask": protocol.class_mask, "mask_resizing": protocol.mask_resizing} if protocol.class_mask else {}
    return NETWORKS[protocol.network](configuration.method, configuration.seed, protocol.settings, protocol.form,
                                      protocol.initializer, pools=protocol.pools, **masks)


def scores(network, images, truth=None):
    """Scores at test time, of the second pass where the network has one; `truth` is for the oracle."""
    first = network(images)
    mask = network.mask_of(first, truth) if isinstance(network, DualNormUNet) else None
    return first if mask is None else network(images, mask=mask)
