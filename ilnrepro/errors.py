"""The one exception for a user's mistake, and how every command line answers it."""

import sys
import warnings


class InputError(Exception):
    """Something the user gave cannot be used: names the file or field, what is wrong, and the remedy."""


def command(main):
    """Calls a command line's `main()` and ends the process: an InputError becomes one line and status 2.

    Ctrl-C says how to go on and ends with status 130; a closed pipe ends quietly.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted: finished files are kept; give the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
