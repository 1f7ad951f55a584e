"""The summary of a network: its layers, their output shapes and their variables."""

from ilnrepro import tf


def summary(network, size=256, slab=16):
    """Rows (layer, output shape, variable, its shape, its size, whether trained), one for each variable.

    The output shapes are those for an image of `size` × `size` pixels, or for a volume of `slab` such slices.
    """
    rows = []
    sides = (slab, size, size)[-network.dimensions:]
    levels = {f"{side}{k}": k - 1 for side in ("down", "up") for k in range(1, network.pools + 1)}
    levels |= {"bottom": network.pools, "head": 0}
    for layer in network.layers:
        level = levels[layer.name.split("/")[0]]
        shape = (*(side // 2**level for side in sides), layer.named_variables["bias"].shape[0])
        for role, variable in layer.named_variables.items():
            rows.append((layer.name, shape, role, tuple(variable.shape), int(tf.size(variable)), variable.trainable))
    return rows
