"""The command `python -m ilnrepro`, the same as `ilnrepro`."""

from ilnrepro.cli import main
from ilnrepro.console import command

if __name__ == "__main__":
    command(main)
