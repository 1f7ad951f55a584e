"""TensorFlow, loaded when it is first used: `from ilnrepro import tf` in place of `import tensorflow as tf`.

Loading takes seconds, and help, tables, file checks and refusals do not need it. For this to work, code that runs at
import (default arguments, decorators, base classes) must not use it.
"""


def __getattr__(name):
    import tensorflow

    return getattr(tensorflow, name)
