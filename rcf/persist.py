"""Model files: save, load, to_bytes, from_bytes.

A model file is a safetensors file (https://github.com/huggingface/safetensors): eight bytes with the length of a JSON
header, the header, and little-endian arrays one after the other. Nothing in it is ever executed. The format is so simple that json
and numpy suffice to read and write it. So saving needs no further dependency, each field is checked by the code that uses it, and
any reader of safetensors can open the file.

Version 2
---------
``__metadata__`` of the header holds strings: ``format`` ("rcf"), ``version`` ("2"), ``library`` (the version that wrote the
file), ``kind`` (the class) and ``state``, the JSON text of what the object's `_state()` returned. In that JSON

- ``{"$array": name, "dtype": t, "shape": [...]}`` represents an array, which is stored as the tensor `name`. If only ``name/0``,
  ``name/1``, ... exist, the array is stored as byte planes (plane 0 holds the lowest byte of each number). A plane that
  is shorter than the others is a raw deflate stream with Huffman codes only. It is at least an eighth as long as its
  content, so that a small file cannot request much memory.
- ``"stored": t`` says that whole numbers are stored as the narrower type `t`. ``"steps": true`` says that the numbers are the
  differences of an ascending array, the first from 0. ``"bits": true`` says that booleans are packed, the highest bit first.
- ``{"$bytes": name}`` represents bytes, which are stored as the tensor `name`. A forest is stored as bytes, because its packed
  format (rcf/_native/packed.pxd) takes less space than arrays, and the core writes and checks it in a tenth of the time.
- ``{"$float": "inf"}`` is a number that JSON cannot express; ``{"$kind": k, "state": ...}`` is a savable object inside another one.

The last tensor, ``crc32``, is the CRC-32 of every byte before it.

Adding a class
--------------
A class that can be saved derives from :class:`Savable` and is listed in `KINDS`. Its ``_state()`` returns a dict with str keys
whose values are arrays, bytes, None, booleans, numbers, strings, lists, dicts and other savable objects. Its class method
``_from_state(state)`` validates everything and raises ValueError, TypeError or KeyError if the state is not valid.
"""

from __future__ import annotations

import errno
import importlib
import json
import math
import os
import secrets
import struct
import sys
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ._version import __version__

VERSION = 2
# The classes that a file can hold, and their modules.
KINDS = {
    "RandomCutForest": "rcf.estimator",
    "StreamDetector": "rcf.detector",
    "KeyedDetector": "rcf.detector",
    "HotSpots": "rcf.hotspots",
    "Checkpoint": "rcf.streams.checkpoint",
}
TYPES = {
    "BOOL": "|b1", "U8": "|u1", "U16": "<u2", "U32": "<u4", "U64": "<u8",
    "I8": "|i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_NAMES = {name: code for code, name in TYPES.items()}
_DTYPES = {code: np.dtype(name) for code, name in TYPES.items()}
_PLAIN = frozenset((type(None), bool, int, str))  # types that JSON expresses as they are
_SMALL = 4096  # bytes; smaller arrays are not compressed, so that small files are easy to read
_MOST = 8  # bytes that one byte of deflate can hold, because a Huffman code has at least one bit


class ModelFileError(ValueError):
    """A file that is not a model, is damaged, or was written by a later version.

    Examples
    --------
    >>> from rcf import ModelFileError, RandomCutForest
    >>> try:
    ...     RandomCutForest.from_bytes(b"")
    ... except ModelFileError:
    ...     print("refused")
    refused
    """


class Pieces(list[bytes]):
    """Bytes in pieces. They are stored one after the other and read as one array of bytes."""


Content = NDArray[Any] | bytes | Pieces  # the content of a tensor


class Savable:
    """Base class of objects that can be saved; the docstring of the module says how to add one."""

    def _state(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The model file as bytes. It holds everything that future results depend on, including the random number generators.

        The object that :meth:`from_bytes` returns gives the same scores and learns in the same way, bit for bit.

        Raises
        ------
        TypeError
            If a parameter has a type that cannot be saved; the message names it.
        """
        return b"".join(_pack(self))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """Restore an object from the bytes of a model file.

        Raises
        ------
        ModelFileError
            If the bytes are not a model file of this class or are damaged; the message gives the details.
        """
        found: Self = unpack(data, cls)
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file completely or not at all. After a crash the path still holds the previous file.

        Parameters
        ----------
        path : str or path-like
            The usual suffix is ``.rcf``. An existing file is replaced. Read the file with :func:`rcf.load`.

        Raises
        ------
        OSError
            If the folder does not exist or is not writable.
        TypeError
            If a parameter has a type that cannot be saved; the message names it.
        """
        _write(Path(os.path.realpath(path)), _pack(self))


def load(path: str | os.PathLike[str]) -> Any:
    """Load an object from a model file. It continues exactly like the saved object, bit for bit.

    Loading files from untrusted sources is safe: nothing in them is executed, and everything is validated before use.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    RandomCutForest, StreamDetector, KeyedDetector, HotSpots or Checkpoint

    Raises
    ------
    ModelFileError
        If the file is not a model file, is damaged, or was written by a later version; the message gives the details.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile, numpy as np, rcf
    >>> forest = rcf.RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 3)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "forest.rcf")
    ...     forest.save(path)
    ...     again = rcf.load(path)
    >>> bool(again.update([1.0, 2.0, 3.0]) == forest.update([1.0, 2.0, 3.0]))
    True
    """
    data = Path(path).read_bytes()
    try:
        return unpack(data)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error


def _write(path: Path, parts: Iterable[Any]) -> None:
    """Write a new file, flush it to the disk, then rename it over the old one."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"cannot save {path.name!r}: there is no folder", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "cannot save: there is a folder of this name", str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if sys.platform != "win32":  # the entry in the folder must reach the disk too; Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


# ---- arrays to tensors -----------------------------------------------------------------------------------------------


def _narrowest(low: int, high: int) -> np.dtype[Any]:
    """The narrowest type for whole numbers from low to high. One 64-bit type must hold both."""
    return np.min_scalar_type(max(high, ~low) if low >= 0 else min(low, ~high))


def _compresses(plane: NDArray[np.uint8]) -> bool:
    """Whether a sample of the bytes has an entropy below 7 bits per byte. Noise is not worth the time of compression."""
    some = plane[:: max(1, plane.size // 2048)]
    counts = np.bincount(some, minlength=256)
    shares = counts[counts > 0] / some.size
    return float(-(shares * np.log2(shares)).sum()) < 7.0


def _deflated(plane: NDArray[np.uint8]) -> bytes:
    # Only Huffman codes are used, because repeats are rare in columns of bytes, and searching for them takes three times as long.
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_HUFFMAN_ONLY)
    return deflate.compress(plane.tobytes()) + deflate.flush()


def _store(array: NDArray[Any], name: str, tensors: dict[str, Content]) -> dict[str, Any]:
    """Add the array to the tensors. Returns the JSON node that represents it."""
    kind = np.dtype(array.dtype).newbyteorder("<")
    if kind.str not in _NAMES:
        raise TypeError(f"{name} is an array of {array.dtype}, which cannot be saved")
    node: dict[str, Any] = {"$array": name, "dtype": kind.str, "shape": list(array.shape)}
    flat = np.ascontiguousarray(array, dtype=kind).reshape(-1)
    if kind.kind == "b":
        node["bits"], flat = True, np.packbits(flat)
    elif kind.kind in "iu" and flat.size:
        low, high = int(flat.min()), int(flat.max())
        if low >= 0 and high < 2**62 and flat.size > 16 and (flat[1:] >= flat[:-1]).all():
            node["steps"], flat = True, np.diff(flat, prepend=kind.type(0))
            low, high = int(flat.min()), int(flat.max())
        stored = _narrowest(low, high).newbyteorder("<")
        if stored.itemsize < kind.itemsize:
            node["stored"], flat = stored.str, flat.astype(stored)
    if flat.nbytes < _SMALL:
        tensors[name] = flat
        return node
    width = flat.dtype.itemsize
    columns = flat.view(np.uint8).reshape(-1, width)
    planes = []
    for i in range(width):
        plane = np.ascontiguousarray(columns[:, i])
        squeezed = _deflated(plane) if _compresses(plane) else b""
        planes.append(np.frombuffer(squeezed, np.uint8) if 0 < len(squeezed) < plane.size else plane)
    if all(plane.size == columns.shape[0] for plane in planes):
        tensors[name] = flat
    else:
        tensors.update((f"{name}/{i}", plane) for i, plane in enumerate(planes))
    return node


def _fetch(node: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The array that a JSON node represents. Its tensors are removed from the dict."""
    name, shape = node["$array"], node.get("shape")
    if not isinstance(name, str) or not set(node) <= {"$array", "dtype", "shape", "stored", "steps", "bits"}:
        raise ModelFileError("an array has no name, or unknown fields")
    if node.get("dtype") not in _NAMES or node.get("stored", "|u1") not in _NAMES:
        raise ModelFileError(f"{name}: unknown type")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise ModelFileError(f"{name}: an impossible shape")
    kind, size = np.dtype(node["dtype"]), math.prod(shape)
    bits, stored = kind.kind == "b", np.dtype(node.get("stored", kind))
    if bits != node.get("bits", False) or (
        (stored != kind or "steps" in node) and (kind.kind + stored.kind).strip("iu")
    ):
        raise ModelFileError(f"{name}: 'stored', 'steps' or 'bits' does not fit an array of {kind}")
    if bits:
        stored = np.dtype(np.uint8)
    n = (size + 7) // 8 if bits else size
    if name in tensors:
        flat = tensors.pop(name)
        if flat.dtype != stored or flat.shape != (n,):
            raise ModelFileError(f"{name}: expected {n} numbers of {stored}, got {flat.size} of {flat.dtype}")
    else:
        if n >= 2**48:
            raise ModelFileError(f"{name}: an impossible shape")
        planes = [_plane(f"{name}/{i}", n, tensors) for i in range(stored.itemsize)]
        flat = np.stack(planes, axis=1).reshape(-1).view(stored)
    if bits:
        flat = np.unpackbits(flat, count=size)
    if node.get("steps"):
        flat = np.cumsum(flat, dtype=np.int64)
    return flat.astype(kind.newbyteorder("=")).reshape(shape)


def _bytes(name: Any, tensors: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """The bytes that a JSON node represents, which are not copied. Their tensor is removed from the dict."""
    found = tensors.pop(name) if isinstance(name, str) and name in tensors else None
    if found is None or found.dtype != np.uint8:
        raise ModelFileError(f"{str(name)[:60]}: there are no such bytes")
    return found


def _plane(name: str, n: int, tensors: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    if name not in tensors:
        raise ModelFileError(f"{name} is missing")
    plane = tensors.pop(name)
    if plane.dtype != np.uint8 or plane.size > n:
        raise ModelFileError(f"{name}: not a plane of {n} bytes")
    if plane.size == n:
        return plane
    if n > _MOST * plane.size:
        raise ModelFileError(f"{name}: {plane.size} bytes cannot hold {n}")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflate.decompress(plane.tobytes(), n)
    if len(data) != n or not inflate.eof or inflate.unused_data:
        raise ModelFileError(f"{name}: the deflated bytes do not expand to {n} bytes")
    return np.frombuffer(data, dtype=np.uint8)


# ---- objects to JSON ---------------------------------------------------------------------------------------------------


def _kind_of(thing: Savable) -> str:
    kind = type(thing).__name__
    if kind not in KINDS or getattr(importlib.import_module(KINDS[kind]), kind) is not type(thing):
        raise TypeError(
            f"{type(thing).__module__}.{kind} cannot be saved: only {', '.join(KINDS)} can, and not their subclasses"
        )
    return kind


def _class_of(kind: Any) -> type[Savable]:
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelFileError(f"holds a {str(kind)[:40]!r}, which this version does not know")
    try:
        return _imported(kind)
    except (ImportError, AttributeError) as error:
        raise ModelFileError(f"holds a {kind}, which this installation cannot load: {error}") from error


@cache
def _imported(kind: str) -> type[Savable]:
    found: type[Savable] = getattr(importlib.import_module(KINDS[kind]), kind)
    return found


def _encode(value: Any, name: str, tensors: dict[str, Content]) -> Any:
    if type(value) in _PLAIN or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, np.ndarray):
        return _store(value, name, tensors)
    if isinstance(value, (bytes, Pieces)):
        tensors[name] = value
        return {"$bytes": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (list, tuple)):
        # plain items need no names, and a list may hold ten thousand of them
        return [item if type(item) in _PLAIN else _encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(
                    f"{name or 'state'}: {key!r} cannot be saved, because names must be strings that do not start with $"
                )
        return {
            key: item if type(item) in _PLAIN else _encode(item, f"{name}.{key}" if name else key, tensors)
            for key, item in value.items()
        }
    if isinstance(value, Savable):
        return {"$kind": _kind_of(value), "state": _encode(value._state(), name, tensors)}
    raise TypeError(f"{name} is {value!r}: a {type(value).__name__} cannot be saved")


def _decode(value: Any, tensors: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) if isinstance(item, (list, dict)) else item for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return _fetch(value, tensors)
    if "$bytes" in value:
        return _bytes(value["$bytes"], tensors)
    if "$float" in value:
        return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[value["$float"]]
    if "$kind" in value:
        return _restore(value["$kind"], _decode(value.get("state"), tensors))
    return {key: _decode(item, tensors) if isinstance(item, (list, dict)) else item for key, item in value.items()}


def _restore(kind: Any, state: Any, **options: Any) -> Savable:
    owner = _class_of(kind)
    if not isinstance(state, dict):
        raise ModelFileError(f"{kind}: its state is not a dict")
    try:
        return owner._from_state(state, **options)
    except ModelFileError:
        raise
    except KeyError as error:
        raise ModelFileError(f"{kind}: {error} is missing") from error
    except MemoryError as error:
        raise ModelFileError(f"{kind}: larger than the memory of this machine") from error
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ModelFileError(f"{kind}: {error}") from error


# ---- the container -----------------------------------------------------------------------------------------------------


def _pack(thing: Savable) -> list[Any]:
    """The parts of a model file, in order."""
    tensors: dict[str, Content] = {}
    kind = _kind_of(thing)
    state = _WRITER.encode(_encode(thing._state(), "", tensors))
    header: dict[str, Any] = {
        "__metadata__": {"format": "rcf", "version": str(VERSION), "library": __version__, "kind": kind, "state": state}
    }
    at = 0
    parts: list[Any] = []
    # wide types first, so that each tensor starts at a multiple of its item size
    for name, content in sorted(tensors.items(), key=lambda item: -getattr(item[1], "itemsize", 1)):
        if isinstance(content, np.ndarray):
            code, size, end = _NAMES[content.dtype.str], content.size, at + content.nbytes
            parts.append(content.data)
        else:
            pieces = content if isinstance(content, Pieces) else [content]
            size = sum(map(len, pieces))
            code, end = "U8", at + size
            parts += pieces
        header[name] = {"dtype": code, "shape": [size], "data_offsets": [at, end]}
        at = end
    header["crc32"] = {"dtype": "U32", "shape": [1], "data_offsets": [at, at + 4]}
    text = _WRITER.encode(header).encode()
    text += b" " * (-len(text) % 8)
    parts[:0] = [struct.pack("<Q", len(text)), text]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    parts.append(struct.pack("<I", crc))
    return parts


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


# These are made once, because json.dumps and json.loads would make new ones for each of ten thousand models.
_WRITER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_READER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)


def _json(text: memoryview | str, what: str) -> dict[str, Any]:
    try:
        found = _READER.decode(text if isinstance(text, str) else str(text, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"the {what} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ModelFileError(f"the {what} is not a JSON object")
    return found


def unpack(data: bytes | memoryview, due: type[Savable] = Savable, **options: Any) -> Any:
    """Restore an object from the bytes of a model file. Raises an error, and reads no content, if it is not a `due`."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"a model file must be bytes, got {type(data).__name__}")
    view = memoryview(data).cast("B")
    if len(view) < 16 or bytes(view[8:9]) != b"{":
        raise ModelFileError("not a model file")
    (length,) = struct.unpack("<Q", view[:8])
    if length > len(view) - 12:
        raise ModelFileError(f"cut off: the file has {len(view)} bytes, but its header alone should have {length}")
    header = _json(view[8 : 8 + length], "header")
    about = header.pop("__metadata__", None)
    if (
        not isinstance(about, dict)
        or about.get("format") != "rcf"
        or not all(isinstance(v, str) for v in about.values())
    ):
        raise ModelFileError("not a model file: a safetensors file of something else")
    if about.get("version") != str(VERSION):
        raise ModelFileError(
            f"the file has version {str(about.get('version'))[:20]!r} and was written by rcf {str(about.get('library'))[:20]}; "
            f"this is rcf {__version__}, which reads version {VERSION}"
        )
    crc = header.pop("crc32", None)
    at = len(view) - 8 - length - 4
    if not isinstance(crc, dict) or crc.get("data_offsets") != [at, at + 4]:
        raise ModelFileError(
            f"cut off, or too long: the file has {len(view)} bytes, not the length that its header gives"
        )
    if struct.unpack("<I", view[-4:])[0] != zlib.crc32(view[:-4]):
        raise ModelFileError("damaged: the checksum differs")
    kind = about.get("kind")
    if not issubclass(_class_of(kind), due):
        raise ModelFileError(f"the file holds a {kind}, not a {due.__name__}")
    tensors = _tensors(header, view[8 + length : -4])
    try:
        state = _decode(_json(about.get("state", ""), "state"), tensors)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, MemoryError, zlib.error) as error:
        raise error if isinstance(error, ModelFileError) else ModelFileError(f"damaged: {error}") from error
    if tensors:
        raise ModelFileError(f"{next(iter(tensors))[:60]!r} is not used by the model")
    return _restore(kind, state, **options)


def _tensors(header: dict[str, Any], data: memoryview) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, which must fill the file without gaps."""
    tensors, expected = {}, 0
    for name, entry in header.items():
        try:
            kind, (size,), (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            fits = (
                begin == expected
                and type(size) is type(end) is int
                and size >= 0
                and end == begin + size * kind.itemsize
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{name[:60]!r} is not described as a tensor") from error
        if not fits or end > len(data):
            raise ModelFileError(f"{name[:60]!r} is not at the position that its type and shape require")
        tensors[name] = np.frombuffer(data[begin:end], dtype=kind)
        expected = end
    if expected != len(data):
        raise ModelFileError(f"{len(data) - expected} bytes are in no tensor")
    return tensors
