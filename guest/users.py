"""Who a user is, by the container's own /etc/passwd and /etc/group: passwd(5), group(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from .node import BadRootfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rootfs import Rootfs


@frozen
class User:
    """What a process runs as; `groups` are those beside `gid`, and `home` is "" where nobody says."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""


def user_of(rootfs: Rootfs, text: str) -> User:
    """Give the user that ``NAME|UID[:GROUP|GID]`` means; `BadRootfs` for one that there is not."""
    name, colon, group = text.partition(":")
    name = name or "0"
    known = [row for row in _rows(rootfs, "/etc/passwd", 7) if name in {row[0], row[2]}]
    row = next((row for row in known if row[0] == name), known[0] if known else None)
    if row is None and not _is_id(name):
        raise BadRootfs(rootfs.source, "no such user in its /etc/passwd", name)
    uid = int(name) if row is None else _number(rootfs, row[2])
    home = "" if row is None else row[5]
    if colon:
        return User(uid, _group(rootfs, group), (), home)
    gid = 0 if row is None else _number(rootfs, row[3])
    more = (
        ()
        if row is None
        else tuple(
            sorted({_number(rootfs, g[2]) for g in _rows(rootfs, "/etc/group", 4) if row[0] in g[3].split(",")} - {gid})
        )
    )
    return User(uid, gid, more, home)


def _group(rootfs: Rootfs, name: str) -> int:
    for row in _rows(rootfs, "/etc/group", 4):
        if row[0] == name:
            return _number(rootfs, row[2])
    if not _is_id(name):
        raise BadRootfs(rootfs.source, "no such group in its /etc/group", name)
    return int(name)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < (1 << 32) - 1


def _number(rootfs: Rootfs, text: str) -> int:
    if not _is_id(text):
        raise BadRootfs(rootfs.source, "a user or group whose number is none", text)
    return int(text)


def _rows(rootfs: Rootfs, path: str, fields: int) -> Iterator[list[str]]:
    node = rootfs.lookup(path)
    text = node.data.decode("utf-8", "surrogateescape") if node is not None else ""
    for line in text.splitlines():
        row = line.split(":")
        if len(row) >= fields:
            yield row
