"""TensorFlow, loaded where it is first used: `from ilnrepro import tf` in the place of `import tensorflow as tf`.

Loading it takes seconds, and help, tables, file checks and refusals need none of it. So what runs at import (default
arguments, decorators, base classes) does not use it.
"""


def __getattr__(name):
    import tensorflow

    return getattr(tensorflow, name)
