"""Compiles the inner loops of scoring; everything else about the project is in pyproject.toml.

Where there is no C compiler the package is installed without them: numpy does the same, slower.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

NATIVE = ("blend", "equations", "logprob", "text", "trees", "words")

setup(
    ext_modules=cythonize(
        [
            Extension(f"scorers.native.{name}", [f"scorers/native/{name}.pyx"], optional=True)
            for name in NATIVE
        ],
        build_dir="build",
        language_level=3,
    )
)
