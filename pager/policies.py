"""The memory policies: when a container's pages become host memory, and when they stop being it.  To add one is to add a row.

The container kernel's part of a policy is in `pager/kernel/`, the host's in `pager/host/`; both read the option ``policy=NAME``.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Policy:
    """A memory policy.

    Attributes:
        name: what ``--memory-policy`` and ``memory_policy=`` call it.
        says: what it is, in one line.
        runtimes: those that can work by it, by name.

    """

    name: str
    says: str
    runtimes: tuple[str, ...] = ("paracell", "pvm", "runv")


POLICIES: Final = {
    policy.name: policy
    for policy in (
        Policy("touch", "a page is bound when it is first touched, and stays"),
        Policy("pager", "Pager: the container kernel has pages bound ahead of their use, and unbound behind it"),
        Policy("static", "every page is bound at the start"),
        Policy(
            "balloon",
            "virtio-balloon: the host says how many pages it wants, 4 KiB each, and the container kernel gives them",
        ),
        Policy("balloon-huge", "the same with frames of 2 MiB, which the specification does not have"),
        Policy("report-4k", "free-page reporting: what has been free for 2 s goes back, from 4 KiB on"),
        Policy("report-2m", "the same, from 2 MiB on"),
        Policy("static-2m", "the same, 2 MiB at a time", ("runv",)),
        Policy(
            "hyperalloc",
            "2 MiB at a time, as the container kernel's LLFree allocator needs them; each 5 s the host takes those that are free",
        ),
    )
}


def check(name: str, runtime: str) -> str:
    """Give the name of a policy that a runtime can work by.

    Args:
        name: of the policy.
        runtime: its name.

    Raises:
        ValueError: there is no such policy, or not under this runtime.

    Example:
        >>> check("pager", "runv")
        'pager'

    """
    policy = POLICIES.get(name)
    if policy is None:
        raise ValueError(f"no such memory policy: {name}; there are {', '.join(POLICIES)}")
    if runtime not in policy.runtimes:
        why = "has no host that could bind pages" if runtime == "native" else "cannot work by it"
        raise ValueError(f"memory policy {name}: {runtime} {why}; {', '.join(policy.runtimes)} can")
    return name
