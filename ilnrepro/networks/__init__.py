"""The table of networks, by the names that protocols give them.

A network is a class. Its constructor takes (method, seed, settings, form, initializer), and it has
  dimensions: 2 for images, 3 for volumes;
  initializers: names of its initializers, the default first;
  start_channels: channels of the first level; pools: number of max-pools;
  choices: {name: values} of the protocol's fields that only this network has;
  layers: in the order of computation, the head last;
  normalizations, named_variables: dictionaries by name;
  network(images, training): class scores `[N, ..., classes]` of images `[N, ..., 1]`, see `losses.margin`;
  network.scores(images, truth): class scores at test time, which a network with class masks gives after its second
    pass.
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
