"""The exceptions for a user's mistake; `console.command` answers them on every command line."""


class InputError(Exception):
    """Something the user gave cannot be used: names the file or field, what is wrong, and the remedy."""


class DamagedError(InputError):
    """A file is not what was written: cut short, or its content denied by its checksum."""
