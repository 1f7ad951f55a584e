"""Puts a normalization of this package into a Keras network that was written without it.

    python examples/keras_unet.py --method iln

`unet` stands for anybody's network, with Keras's own batch normalization; `ilnrepro.keras.replace` is all it takes to
put another in its place. Both are then trained from the same weights on discs in noise (SYNTHETIC), two images a step,
and the new one is saved and loaded. Half a minute on two cores.
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np

from ilnrepro.console import command
from ilnrepro.keras import Normalization, replace
from ilnrepro.ops.metrics import dice, overlap


def unet(channels=(16, 32, 64)):
    """A small U-Net with batch normalization, as one finds them: images `[N, H, W, 1]` to logits of the same shape."""
    def block(x, width):
        for _ in range(2):
            x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.Activation("relu")(x)
        return x

    x = inputs = keras.Input([None, None, 1])
    skips = []
    for width in channels[:-1]:
        x = block(x, width)
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = block(x, channels[-1])
    for width, skip in zip(channels[-2::-1], reversed(skips), strict=True):
        x = keras.layers.Concatenate()([keras.layers.Conv2DTranspose(width, 2, strides=2)(x), skip])
        x = block(x, width)
    return keras.Model(inputs, keras.layers.Conv2D(1, 1)(x))


def discs(n, size, rng):
    """SYNTHETIC images `[n, size, size, 1]` of a disc, brightness and contrast changing, and masks of that shape."""
    row, column = np.mgrid[:size, :size]
    centre, radius = rng.uniform(0.3, 0.7, [n, 2, 1, 1]) * size, rng.uniform(0.1, 0.25, [n, 1, 1]) * size
    masks = np.hypot(row - centre[:, 0], column - centre[:, 1]) < radius
    level, contrast = rng.uniform(-1, 1, [n, 1, 1]), rng.uniform(0.5, 2, [n, 1, 1])
    images = level + contrast * masks + rng.normal(0, 0.5, masks.shape)
    return images[..., None].astype(np.float32), masks[..., None].astype(np.uint8)


def trained(model, images, masks, epochs):
    """Trains `model` by Keras's own means and returns the loss after every epoch."""
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.BinaryCrossentropy(from_logits=True))
    return model.fit(images, masks, batch_size=2, epochs=epochs, verbose=0).history["loss"]


def score(model, images, masks):
    """Mean Dice over the images."""
    return dice(*overlap(masks, model.predict(images, verbose=0) > 0)).mean()


def main():
    """Trains, scores, saves and loads, and prints what it does; returns the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--method", default="iln", help="see `ilnrepro methods`")
    arguments.add_argument("--epochs", type=int, default=4)
    arguments = arguments.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    train, test = discs(60, 64, rng), discs(30, 64, rng)
    theirs = unet()
    ours = replace(theirs, arguments.method)
    layers = [layer for layer in ours.layers if isinstance(layer, Normalization)]
    print(f"SYNTHETIC data: {len(train[0])} training and {len(test[0])} test images, 64×64, 2 a step")
    print(f"{len(layers)} batch normalizations replaced by {arguments.method}")
    for title, model in (("batch normalization", theirs), (arguments.method, ours)):
        losses = trained(model, *train, arguments.epochs)
        print(f"{title}: loss {losses[0]:.3f} to {losses[-1]:.3f}, {model.count_params():,} parameters, "
              f"mean Dice {score(model, *test):.3f} on the test images")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unet.keras"
        ours.save(path)
        again = keras.models.load_model(path)
        same = np.array_equal(again.predict(test[0], verbose=0), ours.predict(test[0], verbose=0))
        print(f"saved as {path.name} ({path.stat().st_size / 1e6:.1f} MB) and loaded: "
              f"{'the same' if same else 'OTHER'} predictions")
    return 0 if same else 1


if __name__ == "__main__":
    command(main)
