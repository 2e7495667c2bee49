"""The debug port of a QEMU guest: GDB's remote protocol, as far as a judge needs it.

Sources: the GDB manual, appendix "GDB Remote Serial Protocol"; QEMU's gdbstub.c for the physical memory mode and for
the order of the x86-64 registers (gdb-xml/i386-64bit.xml).
"""

from __future__ import annotations

import socket
import struct
import time

# The `g` packet: sixteen general registers and RIP, EFLAGS and the six selectors, the three bases and the rest.
_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
_SELECTORS = ("eflags", "cs", "ss", "ds", "es", "fs", "gs")
_CONTROL = ("fs_base", "gs_base", "k_gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer")
NAMES = (*_GENERAL, *_SELECTORS, *_CONTROL)
_REGISTERS = struct.Struct(f"<{len(_GENERAL)}Q{len(_SELECTORS)}I{len(_CONTROL)}Q")

_INTERRUPT = b"\x03"
_EXITED = ("W", "X")  # the first letter of what is said when the guest is no more
_ANSWER_SECONDS = 30.0  # for anything but a guest that runs


class GuestEnded(Exception):
    """The other side is gone: the guest was switched off, has reset, or QEMU has died."""


class Gdb:
    """A debugger's end of `port`.  The guest is stopped whenever a method other than `go` and `stopped` is called."""

    def __init__(self, port: socket.socket) -> None:
        self._port, self._heard = port, b""

    def registers(self) -> dict[str, int]:
        """All registers of the processor that has stopped, by the names in NAMES."""
        raw = bytes.fromhex(self.ask("g"))
        return dict(zip(NAMES, _REGISTERS.unpack_from(raw), strict=True))

    def set_register(self, name: str, value: int) -> None:
        """Give a register of eight bytes another value; QEMU flushes its TLB when CR3 is written.

        QEMU takes single registers only from a debugger that has asked what registers there are.
        """
        self.ask("qXfer:features:read:target.xml:0,100")
        self._order(f"P{NAMES.index(name):x}={value.to_bytes(8, 'little').hex()}")

    def break_at(self, address: int) -> None:
        """Stop before the instruction at this virtual address; a breakpoint of QEMU's own, memory stays as it is."""
        self._order(f"Z0,{address:x},1")

    def unbreak(self, address: int) -> None:
        """Take a breakpoint away."""
        self._order(f"z0,{address:x},1")

    def monitor(self, command: str) -> str:
        """What QEMU's monitor prints to `command`."""
        self._send(f"qRcmd,{command.encode().hex()}")
        printed = b""
        while (packet := self._packet(_ANSWER_SECONDS)) != "OK":
            printed += bytes.fromhex((packet or "").removeprefix("O"))
        return printed.decode(errors="replace")

    def go(self) -> None:
        """Let the guest run."""
        self._send("c")

    def stopped(self, seconds: float) -> bool:
        """Wait for the running guest to stop; False where it still runs after so many seconds."""
        return self._packet(seconds) is not None

    def stop(self) -> None:
        """Stop the running guest where it is."""
        self._write(_INTERRUPT)
        self._packet(_ANSWER_SECONDS)

    def step(self) -> None:
        """One instruction."""
        self.ask("s")

    def step_over(self, address: int) -> None:
        """One instruction at which there is a breakpoint: QEMU would stop at it for ever."""
        self.unbreak(address)
        self.step()
        self.break_at(address)

    def ask(self, packet: str) -> str:
        """The answer to a packet; GuestEnded where none comes."""
        self._send(packet)
        answer = self._packet(_ANSWER_SECONDS)
        if answer is None:
            raise GuestEnded(f"QEMU's debug port gives no answer to {packet[:20]!r}")
        return answer

    def _order(self, packet: str) -> None:
        answer = self.ask(packet)
        if answer != "OK":
            raise GuestEnded(f"QEMU's debug port refuses {packet[:20]!r}: {answer!r}")

    def _send(self, packet: str) -> None:
        data = packet.encode()
        self._write(b"$%s#%02x" % (data, sum(data) & 0xFF))

    def _write(self, data: bytes) -> None:
        try:
            self._port.sendall(data)
        except OSError as error:
            raise GuestEnded(f"QEMU's debug port: {error.strerror}") from error

    def _packet(self, seconds: float) -> str | None:
        """The next packet, acknowledged; None where none comes in time."""
        deadline = time.monotonic() + seconds
        while True:
            start = self._heard.find(b"$")
            end = self._heard.find(b"#", start)
            if 0 <= start < end <= len(self._heard) - 3:
                packet, self._heard = self._heard[start + 1 : end].decode("latin-1"), self._heard[end + 3 :]
                if packet[:1] in _EXITED:
                    raise GuestEnded("it was switched off")
                self._write(b"+")
                return packet
            if not self._hear(deadline - time.monotonic()):
                return None

    def _hear(self, seconds: float) -> bool:
        """Take what has arrived; False where nothing does in time."""
        if seconds <= 0:
            return False
        self._port.settimeout(seconds)
        try:
            heard = self._port.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError as error:
            raise GuestEnded(f"QEMU's debug port: {error.strerror}") from error
        if not heard:
            raise GuestEnded("QEMU closed its debug port")
        self._heard += heard
        return True
