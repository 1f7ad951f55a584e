"""The exceptions for a user's mistakes, which `console.command` prints as one line."""


class InputError(Exception):
    """An input that cannot be used. The message names the file or field, the fault and the remedy."""


class DamagedError(InputError):
    """A damaged file: it is cut short, or its content differs from its checksum."""
