"""`python -m ilnrepro`: one run, and looking at what files hold."""

from ilnrepro.cli import main
from ilnrepro.console import command

if __name__ == "__main__":
    command(main)
