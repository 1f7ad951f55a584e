"""TensorFlow, loaded on first use: write `from ilnrepro import tf` in place of `import tensorflow as tf`.

Loading takes seconds, and help, tables, file checks and error messages do not need it. Code that runs at import
(default arguments, decorators, base classes) must therefore not use it.
"""


def __getattr__(name):
    import tensorflow

    return getattr(tensorflow, name)
