"""Images, made here by the specification: layers on each other, and how they want to be run."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from paracell.guest.node import BadRootfs, Node
from paracell.guest.oci_image import Defaults, read
from paracell.guest.rootfs import Rootfs
from paracell.guest.users import User, user_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LIMIT = 1 << 20
CONFIG = {
    "Env": ["PATH=/opt", "X=1=2"], "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["ls"], "WorkingDir": "/srv", "User": "web",
}  # fmt: skip
Layer = tuple[tuple[str, bytes, str], ...]  # name, type, contents or target
LOWER: Layer = (
    ("usr/bin/", tarfile.DIRTYPE, ""), ("bin", tarfile.SYMTYPE, "usr/bin"), ("bin/sh", tarfile.REGTYPE, "shell"),
    ("etc/a", tarfile.REGTYPE, "a"), ("etc/b", tarfile.REGTYPE, "b"), ("var/x/y", tarfile.REGTYPE, "y"),
    ("opt/one", tarfile.REGTYPE, "1"), ("kind", tarfile.REGTYPE, ""), ("tree/leaf", tarfile.REGTYPE, ""),
)  # fmt: skip
UPPER: Layer = (
    ("etc/.wh.a", tarfile.REGTYPE, ""), ("var/new", tarfile.REGTYPE, "kept"), ("var/.wh..wh..opq", tarfile.REGTYPE, ""),
    (".wh.opt", tarfile.REGTYPE, ""), ("opt/two", tarfile.REGTYPE, "2"), ("kind/", tarfile.DIRTYPE, ""), ("kind/now", tarfile.REGTYPE, ""),
    ("tree", tarfile.REGTYPE, "file"), ("bin/.wh.nothing", tarfile.REGTYPE, ""), ("also", tarfile.LNKTYPE, "usr/bin/sh"),
)  # fmt: skip


def layer_of(entries: Layer, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, kind, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
                info.linkname = data
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data.encode()))
    return out.getvalue()


class Layout:
    """An image layout, as files by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.manifests: list[dict[str, Any]] = []

    def blob(self, data: bytes, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data), **more}

    def manifest(self, layers: Sequence[bytes], *, architecture: str = "amd64", **more: Any) -> dict[str, Any]:
        config = {"architecture": architecture, "os": "linux", "config": CONFIG}
        value = {
            "schemaVersion": 2,
            "config": self.blob(json.dumps(config).encode()),
            "layers": [self.blob(layer) for layer in layers],
        }
        return self.blob(json.dumps(value).encode(), **more)

    def finished(self) -> Mapping[str, bytes]:
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": self.manifests}).encode()
        return self.files


def docker_save(layers: Sequence[bytes]) -> Mapping[str, bytes]:
    config = {"architecture": "amd64", "os": "linux", "config": CONFIG}
    files = {f"{n}/layer.tar": layer for n, layer in enumerate(layers)}
    manifest = [{"Config": "c.json", "RepoTags": ["it:1"], "Layers": list(files)}]
    return {**files, "c.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}


def layout(layers: Sequence[bytes]) -> Mapping[str, bytes]:
    made = Layout()
    made.manifests = [made.manifest(layers)]
    return made.finished()


def write(path: Path, files: Mapping[str, bytes], *, as_tar: bool) -> Path:
    if as_tar:
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize("upper_mode", ["w", "w:gz"])
@pytest.mark.parametrize(("make", "as_tar"), [(layout, False), (layout, True), (docker_save, True)])
def test_layers_on_each_other(tmp_path: Path, make: Any, as_tar: bool, upper_mode: str) -> None:
    image = write(tmp_path / "image", make([layer_of(LOWER), layer_of(UPPER, upper_mode)]), as_tar=as_tar)
    rootfs, defaults = read(str(image), LIMIT)
    assert defaults == Defaults(("PATH=/opt", "X=1=2"), ("/bin/sh", "-c"), ("ls",), "/srv", "web")
    assert {name for name, node in rootfs.entries.items() if not node.is_directory} == {
        "bin", "usr/bin/sh", "etc/b", "var/new", "opt/two", "kind/now", "tree", "also",
    }  # fmt: skip
    assert rootfs.entries["also"] is rootfs.entries["usr/bin/sh"]
    assert rootfs.entries["var/new"].data == b"kept"


def test_which_of_several(tmp_path: Path) -> None:
    made = Layout()
    ref = "org.opencontainers.image.ref.name"
    one = layer_of((("one", tarfile.REGTYPE, ""),))
    two = layer_of((("two", tarfile.REGTYPE, ""),))
    other = {"os": "linux", "architecture": "arm64"}
    here = {"os": "linux", "architecture": "amd64"}
    inner = {
        "manifests": [
            made.manifest([one], platform=other, architecture="arm64"),
            made.manifest([two], platform=here),
            made.manifest([one], platform={"os": "unknown", "architecture": "unknown"}),
        ]
    }
    made.manifests = [
        made.manifest([one], annotations={ref: "a:1"}),
        made.blob(json.dumps(inner).encode(), annotations={ref: "b"}),
    ]
    image = str(write(tmp_path / "image", made.finished(), as_tar=False))
    assert set(read(f"{image}:a:1", LIMIT)[0].entries) == {"one"}
    assert set(read(f"{image}:b", LIMIT)[0].entries) == {"two"}
    for wrong in ("", ":c"):
        with pytest.raises(BadRootfs, match=r"there are a:1, b"):
            read(image + wrong, LIMIT)


def damaged(files: Mapping[str, bytes], name: str, data: bytes | None) -> Mapping[str, bytes]:
    changed = dict(files)
    found = next(n for n in files if n.startswith(name))
    if data is None:
        del changed[found]
    else:
        changed[found] = data
    return changed


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (damaged(layout([layer_of(LOWER)]), "blobs", b"other"), "does not have its digest"),
        (damaged(layout([layer_of(LOWER)]), "blobs", None), "file is missing"),
        (damaged(layout([]), "index", b"{"), "not JSON"),
        (damaged(layout([]), "index", b"[" * 100_000), "not JSON"),
        (damaged(layout([]), "index", b"[]"), "no list where one must be"),
        (damaged(layout([]), "index", b'{"manifests": []}'), "0 images fit"),
        (damaged(layout([]), "index", b'{"manifests": [{"digest": "sha256:../../x"}]}'), "digest that is none"),
        (damaged(docker_save([]), "c.json", b"{}"), "not for Linux"),
        (damaged(docker_save([]), "manifest", b"{}"), "no list of manifests"),
        (docker_save([layer_of(LOWER)[:2048]]), r"truncated|not a tar"),
        (docker_save([layer_of((("../x", tarfile.REGTYPE, ""),))]), r"\.\."),
        (docker_save([layer_of((("big", tarfile.REGTYPE, "x" * (LIMIT // 2 + 1)),))] * 2), "do not fit into memory"),
    ],
)
def test_what_is_refused(tmp_path: Path, files: Mapping[str, bytes], message: str) -> None:
    as_tar = "manifest.json" in files
    with pytest.raises(BadRootfs, match=message):
        read(str(write(tmp_path / "image", files, as_tar=as_tar)), LIMIT)


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (7,), "/root")),
        ("web", User(33, 34, (5, 7), "/srv")),
        ("33", User(33, 34, (5, 7), "/srv")),
        ("web:audio", User(33, 5, (), "/srv")),
        ("web:9", User(33, 9, (), "/srv")),
        ("1234", User(1234, 0, (), "")),
        ("1234:77", User(1234, 77, (), "")),
    ],
)
def test_users(text: str, user: User) -> None:
    rootfs = Rootfs()
    rootfs.add(
        "etc/passwd", Node(tarfile.REGTYPE, data=b"root:x:0:0:r:/root:/bin/sh\nbroken\nweb:x:33:34:w:/srv:/bin/sh\n")
    )
    rootfs.add("etc/group", Node(tarfile.REGTYPE, data=b"audio:x:5:web\nvideo:x:7:root,web\nweb:x:34:web\n"))
    assert user_of(rootfs, text) == user


@pytest.mark.parametrize("text", ["nobody", "0:nobody", "-1", "4294967295", "web"])
def test_users_that_there_are_not(text: str) -> None:
    rootfs = Rootfs()
    rootfs.add("etc/passwd", Node(tarfile.REGTYPE, data=b"web:x:many:34:w:/srv:/bin/sh\n"))
    with pytest.raises(BadRootfs, match=r"no such (user|group)|number is none"):
        user_of(rootfs, text)
