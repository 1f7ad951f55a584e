"""The benchmark's PyTorch peer: the same U-Net and training step, by PyTorch's own means, eager and compiled.

The network is the mirror image of `ilnrepro.networks.unet.UNet`: a transposed convolution of stride 2 makes one row
and one column too many, of which TensorFlow drops the last and PyTorch's `output_padding` the first. So the
same weights, mirrored in height and width, give the same scores, mirrored, for a mirrored image.
"""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

IMPLEMENTATIONS = ("torch-eager", "torch-compile")
METHODS = ("none", "in", "gn4", "iln")
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
RATE = 0.01


class InstanceLayerNorm(nn.Module):
    """IN and LN mixed by Sigmoid(ρ), then GN16, γ and β, composed from functional norms."""

    def __init__(self, channels):
        super().__init__()
        self.rho = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        instance, layer = functional.group_norm(x, x.shape[1]), functional.group_norm(x, 1)
        mixed = torch.lerp(layer, instance, torch.sigmoid(self.rho))
        return functional.group_norm(mixed, 16, self.weight, self.bias)


# IN as GN in as many groups as channels: `InstanceNorm2d` is slower on a CPU, above all with channels last.
NORMALIZATIONS = {
    "none": lambda channels: nn.Identity(),
    "in": lambda channels: nn.GroupNorm(channels, channels),
    "gn4": lambda channels: nn.GroupNorm(4, channels),
    "iln": InstanceLayerNorm,
}


class Layer(nn.Module):
    """Convolution, normalization, ReLU."""

    def __init__(self, convolution, method):
        super().__init__()
        self.convolution = convolution
        self.normalization = NORMALIZATIONS[method](convolution.out_channels)

    def forward(self, x):
        return functional.relu(self.normalization(self.convolution(x)), inplace=True)


class UNet(nn.Module):
    """Scores `[N, 2, H, W]` of images `[N, 1, H, W]`; `layers` by the names of `ilnrepro.networks.unet.UNet`."""

    def __init__(self, method, seed=0):
        super().__init__()
        layers = {}

        def convolution(name, inputs, outputs):
            layers[name] = Layer(nn.Conv2d(inputs, outputs, 3, padding=1), method)

        channels = [16, 32, 64, 128, 256]
        for level, (inputs, outputs) in enumerate(zip([1, *channels], channels, strict=False), 1):
            stage = f"down{level}" if level < 5 else "bottom"
            convolution(f"{stage}/conv1", inputs, outputs)
            convolution(f"{stage}/conv2", outputs, outputs)
        for level in (4, 3, 2, 1):
            outputs = channels[level - 1]
            layers[f"up{level}/transposed"] = Layer(
                nn.ConvTranspose2d(2 * outputs, outputs, 3, stride=2, padding=1, output_padding=1), method)
            convolution(f"up{level}/conv1", 2 * outputs, outputs)
            convolution(f"up{level}/conv2", outputs, outputs)
        self.layers = nn.ModuleDict(layers)
        self.head = nn.Conv2d(16, 2, 1)
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                deviation = (2 / (9 * (16 if module is self.head else module.out_channels))) ** 0.5
                nn.init.trunc_normal_(module.weight, 0, deviation, -2 * deviation, 2 * deviation, generator)
                nn.init.constant_(module.bias, 0.1)

    def forward(self, x):
        layers = iter(self.layers.values())
        skips = []
        for _ in range(4):
            x = next(layers)(x)
            x = next(layers)(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = next(layers)(x)
        x = next(layers)(x)
        for skip in reversed(skips):
            x = torch.cat([skip, next(layers)(x)], 1)
            x = next(layers)(x)
            x = next(layers)(x)
        return self.head(x)


def load(network, arrays):
    """Takes the weights of an `ilnrepro.networks.unet.UNet`, arrays by the names of its `named_variables`."""
    modules = {**network.layers, "head": network.head}
    for name, array in arrays.items():
        layer, role = name.rsplit("/", 1)
        module = modules[layer]
        if role in ("weights", "bias"):
            module = module if layer == "head" else module.convolution
        else:
            module = module.normalization
        if role == "weights":  # [height, width, a, b], where PyTorch wants [b, a, height, width]
            array = array[::-1, ::-1].transpose(3, 2, 0, 1)
        parameter = getattr(module, {"weights": "weight", "gamma": "weight", "beta": "bias"}.get(role, role))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.array(array)))


def training_step(network, images, masks, rate=RATE, layout="channels_last", compiled=False):
    """A function that takes one step of SGD with momentum 0.9 and returns the loss before it, a float.

    Args:
      network: a `UNet`; each step changes it.
      images: `[N, H, W, 1]`; masks: integers `[N, H, W]`. Both as they are, not mirrored.
      layout: of images, weights and feature maps, a key of `LAYOUTS`.
      compiled: by `torch.compile`, at the first step.
    """
    memory_format = LAYOUTS[layout]
    network.to(memory_format=memory_format)
    x = torch.from_numpy(images[:, ::-1, ::-1].transpose(0, 3, 1, 2).copy())
    x = x.to(network.head.weight.dtype).contiguous(memory_format=memory_format)
    y = torch.from_numpy(masks[:, ::-1, ::-1].astype(np.int64))
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9, foreach=True)

    def forward(x, y):
        return functional.cross_entropy(network(x), y)

    if compiled:  # each variant has a cache of its own, or they would push each other out of one
        forward = torch.compile(forward, fullgraph=True, dynamic=False, isolate_recompiles=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def steps(size, batch, methods=METHODS):
    """A training step for each of some methods, eager and compiled, in both memory layouts.

    The number of threads is the caller's choice (`torch.set_num_threads`). A compiled step compiles when it
    is first taken.

    Args:
      size: side of the images; batch: images a step.
      methods: some of `METHODS`.

    Returns:
      {(implementation, method, layout): step}; step() takes one step on a fixed random batch and returns its
      loss.
    """
    rng = np.random.default_rng(0)
    images = rng.random((batch, size, size, 1), np.float32)
    masks = rng.integers(0, 2, (batch, size, size))
    result = {}
    for implementation, method, layout in itertools.product(IMPLEMENTATIONS, methods, LAYOUTS):
        compiled = implementation == "torch-compile"
        step = training_step(UNet(method), images, masks, RATE, layout, compiled)
        result[implementation, method, layout] = step
    return result
