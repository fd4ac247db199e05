"""Container images: an OCI image layout, a directory or a tar, and what ``docker save`` writes.

Sources: OCI Image Format Specification 1.1, "Image Layout Specification", "Image Manifest", "Image Layer Filesystem Changeset" and
"Image Configuration"; Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import frozen

from .archive import from_bytes
from .files import read_regular
from .node import BadRootfs
from .rootfs import Rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

LAYOUT: Final = "oci-layout"
DOCKER: Final = "manifest.json"
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_REF: Final = "org.opencontainers.image.ref.name"
INDEX: Final = "index.json"
_HASHES: Final = {"sha256", "sha512"}
_DEPTH: Final = 4  # of indexes in indexes


@frozen
class Defaults:
    """How an image wants to be run.

    Attributes:
        environment: ``NAME=VALUE``.
        entrypoint: the program and its first arguments.
        command: what follows, or, without an entry point, the program and its arguments.
        cwd: the working directory.
        user: ``user``, ``uid``, ``user:group`` …; "" is root.

    """

    environment: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""


class _Image:
    """One image in a store of files.

    Args:
        source: what it is read from.
        open_file: gives the contents of a file by its name, or None.

    """

    def __init__(self, source: str, open_file: Callable[[str], bytes | None]) -> None:
        self.source = source
        self._open_file = open_file

    def bad(self, what: str, name: str = "") -> BadRootfs:
        return BadRootfs(self.source, f"image: {what}", name)

    def file(self, name: str) -> bytes:
        data = self._open_file(name)
        if data is None:
            raise self.bad("a file is missing", name)
        return data

    def has(self, name: str) -> bool:
        return self._open_file(name) is not None

    def json(self, data: bytes, name: str) -> Any:
        from json import loads  # noqa: PLC0415  (most containers have no image)

        try:
            return loads(data)
        except (ValueError, RecursionError) as error:
            raise self.bad(f"not JSON ({error})", name) from error

    def get(self, value: Any, key: str, kind: type[_T]) -> _T:
        found = value.get(key) if isinstance(value, dict) else None
        if not isinstance(found, kind):
            raise self.bad(f"no {kind.__name__} where one must be", key)
        return found

    def strings(self, value: Any, key: str) -> tuple[str, ...]:
        found = value.get(key) or []
        if not isinstance(found, list) or not all(isinstance(s, str) for s in found):
            raise self.bad("no list of strings where one must be", key)
        return tuple(found)

    def blob(self, descriptor: Any) -> bytes:
        """Give what a descriptor names, if it is what was named."""
        from hashlib import new  # noqa: PLC0415

        digest = self.get(descriptor, "digest", str)
        algorithm, _, value = digest.partition(":")
        if algorithm not in _HASHES or not value.isalnum():
            raise self.bad("a digest that is none", digest)
        data = self.file(f"blobs/{algorithm}/{value}")
        if new(algorithm, data).hexdigest() != value:
            raise self.bad("damaged: a blob does not have its digest", digest)
        return data


def read(spec: str, limit: int) -> tuple[Rootfs, Defaults | None]:
    """Read a root file system: a directory, a tar, or an image.

    Args:
        spec: its path; where an image holds several, ``PATH:REFERENCE`` names one.
        limit: bytes that its files may take.

    Returns:
        The files, and how an image wants to be run; None where it is no image.

    Raises:
        BadRootfs: damaged, no root file system, or not for this processor.
        OSError: it cannot be read.

    """
    path, reference = _split(spec)
    if path.is_dir():
        if not (path.joinpath(LAYOUT).is_file() and path.joinpath(INDEX).is_file()):
            return Rootfs.read(path, limit), None
        return _unpack(_Image(str(path), lambda name: _on_disk(path, name)), reference, limit)
    files = Rootfs.read(path, limit)
    if (LAYOUT in files.entries and INDEX in files.entries) or (DOCKER in files.entries and "etc" not in files.entries):
        return _unpack(_Image(str(path), lambda name: _in_tar(files, name)), reference, limit)
    return files, None


def _split(spec: str) -> tuple[Path, str]:
    colon = spec.find(":")
    while colon > 0 and not os.path.lexists(spec):
        if os.path.lexists(spec[:colon]):
            return Path(spec[:colon]), spec[colon + 1 :]
        colon = spec.find(":", colon + 1)
    return Path(spec), ""


def _on_disk(root: Path, name: str) -> bytes | None:
    try:
        return read_regular(root / name)
    except FileNotFoundError:
        return None


def _in_tar(files: Rootfs, name: str) -> bytes | None:
    node = files.lookup(name)
    return node.data if node is not None and node.is_file else None


def _unpack(image: _Image, reference: str, limit: int) -> tuple[Rootfs, Defaults]:
    """Put an image's layers on each other."""
    if image.has(LAYOUT) and image.has(INDEX):
        manifest = _choose(image, image.json(image.file(INDEX), INDEX), reference, 0)
        config = image.json(image.blob(manifest.get("config")), "config")
        layers = [image.blob(layer) for layer in image.get(manifest, "layers", list)]
    else:
        manifest = _tagged(image, image.json(image.file(DOCKER), DOCKER), reference)
        config = image.json(image.file(image.get(manifest, "Config", str)), "config")
        layers = [image.file(name) for name in image.strings(manifest, "Layers")]
    if not isinstance(config, dict) or (config.get("os"), config.get("architecture")) != ("linux", "amd64"):
        raise image.bad("not for Linux on amd64", reference)
    rootfs = Rootfs(image.source)
    room = limit
    for layer in layers:
        room -= _apply(rootfs, layer, room)
    wanted = config.get("config") or {}
    if not isinstance(wanted, dict):
        raise image.bad("a configuration that is none")
    return rootfs, Defaults(
        image.strings(wanted, "Env"), image.strings(wanted, "Entrypoint"), image.strings(wanted, "Cmd"),
        str(wanted.get("WorkingDir") or "/"), str(wanted.get("User") or ""),
    )  # fmt: skip


def _choose(image: _Image, index: Any, reference: str, depth: int) -> dict[str, Any]:
    """Give the manifest for this processor."""
    known = [m for m in image.get(index, "manifests", list) if isinstance(m, dict)]
    fitting = [m for m in known if _fits(m.get("platform"))]
    if reference and depth == 0:
        fitting = [m for m in fitting if reference in _names(m)]
    if len(fitting) != 1:
        names = ", ".join(sorted({name for m in known for name in _names(m)})) or "no names"
        raise image.bad(f"{len(fitting)} images fit; write PATH:REFERENCE; there are {names}", reference)
    found = image.json(image.blob(fitting[0]), "manifest")
    if not isinstance(found, dict):
        raise image.bad("a manifest that is none")
    if "manifests" in found:
        if depth == _DEPTH:
            raise image.bad("too many indexes in each other")
        return _choose(image, found, reference, depth + 1)
    return found


def _names(manifest: Mapping[str, Any]) -> set[str]:
    notes = manifest.get("annotations") or {}
    return {str(notes[key]) for key in (_REF, "io.containerd.image.name") if key in notes}


def _fits(platform: Any) -> bool:
    return not isinstance(platform, dict) or (platform.get("os"), platform.get("architecture")) == ("linux", "amd64")


def _tagged(image: _Image, manifests: Any, reference: str) -> dict[str, Any]:
    if not isinstance(manifests, list) or not all(isinstance(m, dict) for m in manifests):
        raise image.bad("no list of manifests", DOCKER)
    named = [m for m in manifests if not reference or reference in image.strings(m, "RepoTags")]
    if len(named) != 1:
        names = ", ".join(sorted({str(tag) for m in manifests for tag in image.strings(m, "RepoTags")})) or "no names"
        raise image.bad(f"{len(named)} images fit; write PATH:REFERENCE; there are {names}", reference)
    found: dict[str, Any] = named[0]
    return found


def _apply(rootfs: Rootfs, layer: bytes, room: int) -> int:
    """Put one layer on what is there, and give how many bytes it has.

    A whiteout hides what the layers below brought, never what its own layer brings.
    """
    entries = list(from_bytes(layer, rootfs.source, room))
    for name, _ in entries:
        directory, base = posixpath.split(posixpath.normpath(name))
        place = rootfs.resolve(directory)
        if not base.startswith(_WHITEOUT) or place is None:
            continue
        prefix = "" if place == "." else f"{place}/"
        if base == _OPAQUE:
            for below in rootfs.below(place) if prefix else list(rootfs.entries):
                rootfs.remove(below)
        else:
            rootfs.remove(prefix + base.removeprefix(_WHITEOUT))
    for name, node in entries:
        if not posixpath.basename(posixpath.normpath(name)).startswith(_WHITEOUT):
            rootfs.replace(name, node)
    return sum(len(node.data) for _, node in entries)
