"""The operations, one a file: forward and backward on arrays, and the function on Tensors that checks its arguments."""

from . import methods

methods.install()
