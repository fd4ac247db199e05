"""The whole machine: processor, memory, devices, and the loop that runs them.

The loop leaves TCG only for what cannot be done inside a callback: hooked instructions, HLT, a timer that must interrupt a
loop without events, and the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from attrs import evolve

from ..guest.firmware import BIOS_PORTS, RSDP, bios_pieces, pieces
from ..guest.loader import plan
from .clock import Clock
from .cost import DEFAULT as COSTS
from .counting import Unit
from .cpu import Cpu
from .descriptors import FLAT_CODE64, FLAT_DATA32, Table
from .devices import Devices
from .engine import Engine
from .features import DEFAULT, BadFeatures
from .memory import NOTHING, Memory
from .msr import VMX_ON
from .msr_index import IA32_FEATURE_CONTROL
from .registers import RAX, RBX, RSI, RSP
from .runloop import RunLoop
from .sinks import fan_out
from .state import State
from .stop import Reason
from .symbols import Symbols
from .traps import Traps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import IO

    from ..guest.image import Image
    from ..guest.multiboot import Module
    from .cost import Costs
    from .devices import ConsolePorts
    from .features import Features
    from .nesting import NestedOptions
    from .sinks import Lens, Sink
    from .stop import Stop

ClockKind = Literal["blocks", "exact", "steady"]
_KEPT: Final = 16 << 20  # bytes of memory for the outermost hypervisor
_UNITS: Final[dict[ClockKind, Unit]] = {
    "blocks": Unit.BLOCKS, "exact": Unit.INSTRUCTIONS, "steady": Unit.BLOCKS
}  # fmt: skip


def _memory(size: int, features: Features, kept: int) -> Memory:
    memory = Memory(size, kept)
    if memory.limit > 1 << features.maxphyaddr:
        raise BadFeatures(f"{size >> 20} MiB of memory do not fit into {features.maxphyaddr}-bit physical addresses")
    return memory


class Machine:
    """A PC with one processor.

    `memory` is its size in bytes.  `clock` says what advances virtual time, besides events, while a timer is armed: "blocks", each
    translated block `Costs.block` cycles, or, six times slower, "exact", each instruction one.  "steady" is as "blocks", and
    passes time for plain code without a timer too.  With `nested`, everything runs in a virtual machine of the outermost hypervisor.
    With `hpet` it has a high-precision event timer.

    Attributes:
        cpu: the processor.
        memory: guest-physical memory.
        devices: everything on the buses.
        clock: virtual time.
        symbols: names for addresses.
        lens: what gives events their meaning, or None.

    """

    def __init__(
        self,
        memory: int,
        console: ConsolePorts | None = None,
        *,
        features: Features = DEFAULT,
        clock: ClockKind = "blocks",
        costs: Costs = COSTS,
        nested: NestedOptions | bool = False,
        hpet: bool = False,
    ) -> None:
        self.engine = Engine()  # before memory is mapped: translated code is to lie near the library
        try:
            self.memory = _memory(memory, features, _KEPT if nested else 0)
        except ValueError:
            self.engine.close()
            raise
        self.memory.attach(self.engine)
        self.clock = Clock()
        self.cpu = Cpu(self.engine, self.memory, self.clock, features)
        self.cpu.costs = costs
        self.devices = Devices(self.clock, console, memory, tsc=self.cpu.tsc, features=features, hpet=hpet)
        self.cpu.devices = self.devices
        self.devices.testdev.attach(self.engine)
        self.traps = Traps(self.cpu, _UNITS[clock], steady=clock == "steady")
        self.traps.pending.attach(self.devices)
        self.symbols = Symbols()
        self._sinks: list[Sink] = []
        self._lens: Lens | None = None
        self._loop = RunLoop(self)
        if nested:
            from .nesting import NestedOptions  # noqa: PLC0415  (most machines have none)
            from .outer import Outer  # noqa: PLC0415  (most machines have none)

            options = NestedOptions() if nested is True else nested
            self.cpu.outer = outer = Outer(self.cpu, self.traps, options)
            self.cpu.software_memory = outer.memory
            self.cpu.load(self.cpu.state())
        self.engine.map_mmio(NOTHING, 0x1000, lambda *_: (1 << 64) - 1, lambda *_: None)

    @property
    def clock_kind(self) -> ClockKind:
        """What advances virtual time besides events."""
        pending = self.traps.pending
        return "steady" if pending.steady else "exact" if pending.time.unit is Unit.INSTRUCTIONS else "blocks"

    # ---- set-up -----------------------------------------------------------------------------------------------

    def load(
        self,
        image: Image,
        cmdline: str = "",
        modules: Sequence[Module] = (),
        *,
        firmware: bool = False,
        bios: bool = False,
    ) -> None:
        """Place an image as a boot loader does; raises `BadImage` where it does not fit.

        With `firmware` it finds the tables that a PC's leaves, with `bios` interrupts as a BIOS takes them, and VMX switched on and locked.
        """
        boot = plan(image, self.memory.regions(), cmdline, modules, RSDP if firmware else 0)
        for piece in (
            *(pieces(hpet=self.devices.hpet is not None) if firmware else ()),
            *(bios_pieces() if bios else ()),
            *boot.pieces,
        ):
            self.memory.write(piece.paddr, bytes(piece.data))
        for port, value in BIOS_PORTS if bios else ():
            self.devices.port_write(port, 1, value)
        registers = [0] * 16
        registers[RAX], registers[RBX], registers[RSP], registers[RSI] = boot.eax, boot.ebx, boot.esp, boot.esi
        state = State(registers=registers, rip=boot.entry)
        if boot.cr3 is not None:
            segments = (FLAT_DATA32, FLAT_CODE64, *(FLAT_DATA32,) * 4)
            state = evolve(state, cr3=boot.cr3, cr0=0x80000031, cr4=0x20, efer=0x500, segments=segments)
        if boot.gdt is not None:
            code, data = evolve(FLAT_CODE64, selector=0x10), evolve(FLAT_DATA32, selector=0x18)
            gdtr = Table(boot.gdt[0], boot.gdt[1] - 1)
            state = evolve(state, gdtr=gdtr, segments=(data, code, *(data,) * 4))
        self.cpu.load(state)
        if bios and "vmx" in self.cpu.features:
            # SDM "Enabling and Entering VMX Operation": a BIOS sets these bits, or software finds VMX switched off.
            self.cpu.msr[IA32_FEATURE_CONTROL] = VMX_ON
        self.devices.com1.flow_control = image.linux
        self.symbols.add(image.path, image.symbols)

    def add_sink(self, sink: Sink) -> None:
        """Send every event to `sink` too."""
        self._sinks.append(sink)
        self._connect()

    def remove_sink(self, sink: Sink) -> None:
        """Send no more events to `sink`; ``ValueError`` if it gets none."""
        self._sinks.remove(sink)
        self._connect()

    def wrap_sinks(self, wrap: Callable[[Sink], Sink]) -> None:
        """Put a sink of the caller's between the events and each sink that gets them now."""
        self._sinks = [wrap(sink) for sink in self._sinks]
        self._connect()

    @property
    def lens(self) -> Lens | None:
        """What gives the processor's events their meaning, before any sink gets them; None passes them on as they are."""
        return self._lens

    @lens.setter
    def lens(self, lens: Lens | None) -> None:
        self._lens = lens
        self.cpu.who_is = lens.who_is if lens else None
        self._connect()

    def _connect(self) -> None:
        """Rebuild the way of an event: processor, lens, sinks."""
        self.cpu.emit = emit = fan_out([sink.emit for sink in self._sinks])
        if emit and self._lens:
            self.cpu.emit = self._lens.bind(emit)

    # ---- running ----------------------------------------------------------------------------------------------

    def run(self, instructions: int = 0) -> Stop:
        """Run until the guest ends or cannot go on, or, unless that is 0, for so many retired instructions; `Stop` says which."""
        return self._loop.run(instructions)

    @property
    def progress(self) -> tuple[int, int]:
        """How many instructions runs that counted them have retired, and how often HLT has slept since the last one."""
        return self._loop.retired, self._loop.slept

    @progress.setter
    def progress(self, value: tuple[int, int]) -> None:
        self._loop.retired, self._loop.slept = value

    def sleep(self) -> Stop | None:
        """Let a halted processor sleep until the next thing that happens, and no further; gives how the run ends, if it does."""
        return self._loop.sleep()

    def request_stop(self, reason: Reason = Reason.INTERRUPTED) -> None:
        """Ask `run` to return soon, for this reason; may be called from another thread."""
        self._loop.request_stop(reason)

    def pause_at(self, places: Iterable[int], physical: Iterable[int] = ()) -> None:
        """Have `run` pause before the instructions at these linear addresses, in any address space, and at no others.

        It pauses before those at `physical` addresses, too, and perhaps before others at a linear address that one of them has had.
        The instruction that a run begins with runs.
        """
        self.traps.sites.pause_at(places, physical)

    def poll_console(self) -> None:
        """Ask for a look at the console soon, even if the guest makes no event; may be called from another thread."""
        self._loop.poll_console()

    def forget_events(self) -> None:
        """Drop whatever was about to happen: it belongs to a time that is no more (`Checkpoint`)."""
        self._loop.forget_events()

    # ---- snapshots --------------------------------------------------------------------------------------------

    def save(self, file: IO[bytes]) -> None:
        """Write the whole machine to `file`; only pages that are not zero take space."""
        from .snapshot import save  # noqa: PLC0415  (most runs need none)

        save(self, file)

    @classmethod
    def restore(cls, file: IO[bytes], console: ConsolePorts | None = None) -> Machine:
        """Make the machine that `save` wrote; raises `BadSnapshot`."""
        from .snapshot import restore  # noqa: PLC0415

        return restore(cls, file, console)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()
