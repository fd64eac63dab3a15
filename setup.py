"""Build the extensions; everything else is in pyproject.toml.

``RCF_DEBUG=1``      bounds checks and C asserts, little optimisation, and only the portable walks
``RCF_CFLAGS``       further compiler flags, appended to ours (sanitizers, coverage)
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent.resolve()
DEBUG = os.environ.get("RCF_DEBUG", "") not in ("", "0")
LINKED = ("shingle", "sampling")


def link(at: Path, to: Path) -> None:
    """Make the folder `to` appear at `at`, unless something is there already."""
    if at.exists():
        return
    if sys.platform == "win32":  # Windows requires a privilege for a symlink, but not for a junction
        subprocess.run(["cmd", "/c", "mklink", "/J", str(at), str(to)], check=True)
    else:
        at.symlink_to(os.path.relpath(to, at.parent), target_is_directory=True)


def link_folders() -> None:
    """Show shingle/ and sampling/ as rcf/shingle and rcf/sampling.

    An sdist contains them only under rcf/. In an unpacked sdist the links go the other way, so that Cython finds their .pxd files.
    """
    for name in LINKED:
        top, inside = HERE / name, HERE / "rcf" / name
        link(inside, top) if top.exists() else link(top, inside)


cflags, macros = [], []
if sys.platform == "win32":
    cflags += ["/Od" if DEBUG else "/O2", "/fp:precise"]
else:
    # Contraction would let the compiler fuse a*b+c where the CPU can, and scores would then depend on the CPU.
    cflags += ["-ffp-contract=off", "-Wno-unused-function", "-Wno-psabi"]
    cflags += ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3"]
if DEBUG:
    macros.append(("RCF_DEBUG", "1"))
cflags += shlex.split(os.environ.get("RCF_CFLAGS", ""))

# The files that each extension is built from, besides its own .pyx. A program that only scores does not load the extensions of the
# detector and of the hot spots. The core takes 40 s to build, each of the others less than 10.
DEPENDS = {
    "rcf._core": ["rcf/_core.pxd", "rcf/_native/*.[ph]*", "sampling/*.pxd"],
    "rcf.sampling._core": ["rcf/_native/rng.pxd", "rcf/_native/portable_math.h", "sampling/*.pxd"],
    "rcf.shingle._core": ["shingle/*.pxd"],
    "rcf.detector.evidence": ["rcf/detector/evidence.pxd", "rcf/_native/bits.*"],
    "rcf.detector.pipeline": [
        "rcf/detector/*.pxd",
        "rcf/_core.pxd",
        "rcf/_native/*.[ph]*",
        "sampling/*.pxd",
        "shingle/*.pxd",
    ],
    "rcf.detector.times": ["rcf/detector/times.pxd"],
    "rcf.detector.views": ["rcf/detector/*.pxd", "rcf/_native/bits.*"],
    "rcf.detector.window": ["rcf/detector/*.pxd", "shingle/*.pxd"],
    "rcf.hotspots.window": ["rcf/hotspots/*.h"],
}

EXTENSIONS = [
    Extension(
        module,
        [module.replace(".", "/") + ".pyx"],
        depends=[str(path.relative_to(HERE)) for pattern in patterns for path in HERE.glob(pattern)],
        include_dirs=["rcf"],
        extra_compile_args=cflags,
        extra_link_args=shlex.split(os.environ.get("RCF_CFLAGS", "")),
        define_macros=macros,
    )
    for module, patterns in DEPENDS.items()
]


# Links are made and Cython runs when something is built, and not when a tool only reads the metadata.
class BuildExtensions(build_ext):
    def finalize_options(self) -> None:
        link_folders()
        self.distribution.ext_modules = cythonize(
            EXTENSIONS,
            compiler_directives={
                "language_level": 3,
                "boundscheck": DEBUG,
                "initializedcheck": DEBUG,
                "wraparound": False,
                "cdivision": True,
                "embedsignature": False,
                "linetrace": False,
            },
            force=DEBUG,
            include_path=["."],
        )
        super().finalize_options()


class BuildPython(build_py):
    def finalize_options(self) -> None:
        link_folders()
        super().finalize_options()


class SourceDistribution(sdist):
    def finalize_options(self) -> None:
        link_folders()
        super().finalize_options()


setup(
    packages=sorted({*find_packages(include=["rcf", "rcf.*"]), *(f"rcf.{name}" for name in LINKED)}),
    ext_modules=EXTENSIONS,
    cmdclass={"build_ext": BuildExtensions, "build_py": BuildPython, "sdist": SourceDistribution},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
