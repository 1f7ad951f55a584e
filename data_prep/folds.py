"""The folds of subjects: groups that a challenge has set, or a seeded split that keeps each subject whole."""

import numpy as np

from ilnrepro.errors import InputError


def known_groups(subjects, groups):
    """The fold of each image from its subject's group.

    Args:
      subjects: the subject of each image, [n] strings.
      groups: group number from 1 by subject.

    Returns:
      [n] integers, or None if a subject has no group, or all are of one (there would be nothing to train on).
    """
    numbers = {groups.get(str(subject)) for subject in subjects}
    if None in numbers or len(numbers) < 2:
        return None
    return np.array([groups[str(subject)] for subject in subjects])


def random_split(subjects, folds=3, seed=0, strata=None):
    """A random split of subjects into folds whose numbers of subjects differ by one at most.

    The subjects of each stratum (all are one without `strata`) are shuffled by `seed` and dealt out in turn,
    each stratum going on where the last one stopped; so every stratum is spread evenly too. The order of the
    images does not matter.

    Args:
      subjects: the subject of each image, [n] strings.
      folds: their number; never more than there are subjects.
      strata: stratum (say, the disease) by subject.

    Returns:
      The fold of each image, [n] integers from 1.

    Raises:
      InputError: fewer than two folds, or than two subjects.
    """
    names = np.unique(np.asarray(subjects, str))
    if folds < 2:
        raise InputError(f"--folds: {folds} is not a split; give 2 or more")
    if len(names) < 2:
        raise InputError(f"subject: only {', '.join(names) or 'none'} found; at least two are needed, "
                         "one to train and one to test")
    members = {}
    for name in names.tolist():
        members.setdefault((strata or {}).get(name, ""), []).append(name)
    rng = np.random.default_rng(seed)
    dealt = [name for stratum in sorted(members) for name in rng.permutation(members[stratum]).tolist()]
    fold_of = {name: 1 + i % min(folds, len(names)) for i, name in enumerate(dealt)}
    return np.array([fold_of[str(subject)] for subject in subjects])
