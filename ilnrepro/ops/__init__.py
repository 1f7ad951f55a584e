"""Operations on arrays, independent of runs and files: losses, optimizers, augmentation, slabs, metrics."""
