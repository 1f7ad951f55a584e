"""Operations on arrays that know no run and no file: losses, optimizers, augmentation, slabs, metrics."""
