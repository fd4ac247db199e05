"""How the outermost hypervisor works, where there is one."""

from __future__ import annotations

from attrs import frozen


@frozen
class NestedOptions:
    """How the outermost hypervisor works.

    Attributes:
        shadow_vmcs: VMREAD and VMWRITE of L1 do not exit: VMCS12 is VMCS01's shadow VMCS.
        large_pages: EPT01 has pages of 2 MiB.
        eager: a table of L1's EPTs is protected from stores as soon as a protected one links it, not when it is walked through.
        backed: EPT01 maps L1's RAM from the start; else L0 finds memory for a page when L1 or L2 first touches it.

    """

    shadow_vmcs: bool = True
    large_pages: bool = True
    eager: bool = False
    backed: bool = True
