"""Which services a host's software would be charged for, and the named sets of what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..emu.cost import check
from ..emu.declared import declared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..emu.declared import Service


def of(runtime: str, *, nested: bool) -> tuple[Service, ...]:
    """Give the services that a runtime's host has.

    Example:
        >>> [service.name for service in of("runv", nested=False)]
        ['runv_violation', 'runv_msr', 'runv_kpti']

    """
    return tuple(
        s for s in declared().services.values() if s.runtime == runtime and (s.nested is None or s.nested is nested)
    )


def named(name: str, changes: Mapping[str, object] | None = None) -> dict[str, int]:
    """Give a set of services by its name, each with what it takes; those that it does not name take nothing.

    Args:
        name: of the set.
        changes: what single services take instead.

    Raises:
        ValueError: there is no such set or service, or a value is no number of cycles.

    Example:
        >>> named("as-built", {"pvm_write": 500})["pvm_write"]
        500

    """
    sets, services = declared().sets, declared().services
    if name not in sets:
        raise ValueError(f"no such set of services: {name}; there are {', '.join(sets)}")
    found = {service: sets[name].get(service, each.value) for service, each in services.items()}
    for service, cycles in (changes or {}).items():
        if service not in services:
            raise ValueError(f"no such service: {service}; there are {', '.join(services)}")
        found[service] = check(f"{service} takes", cycles)
    return found
