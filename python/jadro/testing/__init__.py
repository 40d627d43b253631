"""Tools for testing: gradient checks by differences, the NumPy reference of every kernel, and the cases that kernels
are held to.

from jadro.testing import gradcheck
gradcheck(F.tanh, [x])
"""

from jadro.testing.gradcheck import GradcheckError, gradcheck, gradgradcheck

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]
