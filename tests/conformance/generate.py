# Writes the cases of the installed onnx package: generate.py DIR [KIND...]
# The package's own writer names NumPy's aliases of Python types, which NumPy 1.24 removed.
import os
import sys

import numpy

for alias in (bool, int, float, complex, object, str):
    if alias.__name__ not in numpy.__dict__:
        setattr(numpy, alias.__name__, alias)

from onnx.backend.test.cmd_tools import main

if __name__ == "__main__":
    sys.argv = ["backend-test-tools", "generate-data", "-o", sys.argv[1]]
    sys.exit(main())
