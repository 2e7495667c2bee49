"""What the judge needs of this computer: QEMU, a firmware image, a C compiler, and a folder to keep things in."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


class JudgeError(ValueError):
    """The question could not be put to the firmware, or got no answer; the message says why in one line."""


class NotInstalledError(JudgeError):
    """A program or a firmware file is not on this computer; the message names the Debian packages that bring them."""


# Debian's names of the packages, and of the firmware files in them.
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "gcc": "gcc",
    "ld": "binutils",
    "x86_64": "ovmf",
    "i386": "ovmf-ia32",
}
QEMU = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """A firmware's files: the code, and the template of its variable store; None where the code file holds both."""

    code: Path
    variables: Path | None = None


# By architecture, the first pair that exists wins.  The 2 MiB image boots fastest (its identity map is small).
_KNOWN_PLACES: dict[str, tuple[tuple[str, str | None], ...]] = {
    "x86_64": (
        ("/usr/share/ovmf/OVMF.fd", None),
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ),
    "i386": (("/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd"),),
}
SETTING = {"x86_64": "EFIMM_OVMF", "i386": "EFIMM_OVMF_IA32"}


def firmware_arch(arch: str) -> str:
    """Which firmware a kernel built for `arch` is called by: "x86_64" or "i386"."""
    return "i386" if arch.startswith("i386") else "x86_64"


def find_firmware(arch: str = "x86_64", *, with_store: bool = False) -> FirmwareImage | None:
    """The firmware for `arch`: the file that the environment names, else the first known place; None.

    EFIMM_OVMF (EFIMM_OVMF_IA32) is one file, or a code file and a variable store with a colon between them.  Of the
    known places those `with_store` come first, where that is asked for: such a build is what machines usually have.
    """
    setting = os.environ.get(SETTING[arch], "")
    if setting:
        code, _, variables = setting.partition(":")
        return _existing(FirmwareImage(Path(code), Path(variables) if variables else None), SETTING[arch])
    for place, store in sorted(_KNOWN_PLACES[arch], key=lambda known: with_store and known[1] is None):
        if Path(place).exists() and (store is None or Path(store).exists()):
            return FirmwareImage(Path(place), Path(store) if store else None)
    return None


def require(arch: str = "x86_64") -> FirmwareImage:
    """The firmware for `arch`, with every tool there; NotInstalledError names all packages that are missing at once."""
    missing = [tool for tool in (QEMU, "gcc", "ld") if shutil.which(tool) is None]
    firmware = find_firmware(arch)
    if firmware is None:
        missing.append(arch)
    if missing or firmware is None:
        raise NotInstalledError(_advice(missing))
    return firmware


def require_for_linux() -> FirmwareImage:
    """The firmware for a guest with a real kernel, which needs QEMU beside it, but no compiler; NotInstalledError."""
    firmware = find_firmware(with_store=True)
    missing = [QEMU] if shutil.which(QEMU) is None else []
    if missing or firmware is None:
        raise NotInstalledError(_advice(missing + ["x86_64"] * (firmware is None)))
    return firmware


def cache_folder() -> Path:
    """The folder for what can be made again: the built witness and the firmware's memory maps.  It exists."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "efimm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@lru_cache
def qemu_version() -> str:
    """QEMU's own line about itself, such as "QEMU emulator version 7.2.22"."""
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.partition("\n")[0].partition(" (")[0]


def _existing(image: FirmwareImage, setting: str) -> FirmwareImage:
    for path in (image.code, image.variables):
        if path is not None and not path.is_file():
            raise NotInstalledError(f"{setting} names {path}, and there is no such file")
    return image


def _advice(missing: list[str]) -> str:
    packages = " ".join(PACKAGES[what] for what in missing)
    return f"the judge needs real firmware in QEMU; on Debian: apt install --no-install-recommends {packages}"
