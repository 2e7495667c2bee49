"""The witness, built from its C sources by the computer's own gcc and ld, and kept until a source changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from .host import JudgeError, cache_folder

SOURCES = Path(__file__).parent / "witness"

# Position-independent without relocations: the image is copied while it runs.  No SSE: our own code must not need what
# the kernel's registers may forbid.  No red zone: exceptions may come anywhere.
_COMPILE = (
    *("-std=gnu11", "-Os", "-ffreestanding", "-fpie", "-fvisibility=hidden", "-mgeneral-regs-only", "-fno-jump-tables"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-fno-ident"),
)
_SUBSYSTEM_EFI_APPLICATION = "10"

# By architecture, options for gcc and for ld.  32-bit code finds its data from the global offset table's address, and
# a PE image has none: the image's beginning serves as one.  UEFI aligns 64-bit members to 8 bytes (2.3.1), gcc to 4.
_BY_ARCH = {
    "x86_64": (["-m64", "-mno-red-zone"], ["-m", "i386pep"]),
    "i386": (
        ["-m32", "-malign-double"],
        ["-m", "i386pe", "--defsym", "_GLOBAL_OFFSET_TABLE_=0", "--disable-reloc-section"],
    ),
}
_OTHER_ARCH_ONLY = {"x86_64": "ia32", "i386": "x64"}

# QEMU takes a file for -kernel as Linux's, and byte 0x1f1 as the number of its set-up sectors; a file shorter than that
# is refused.  So the image is padded, and ends with a digest of all before it, by which a damaged file is known.
_PADDED_SIZE = 256 << 10
_DIGEST = hashlib.sha256
_IMAGE_FILE_RELOCS_STRIPPED = 1


def sources(arch: str) -> list[Path]:
    """The files that make the witness for `arch`; those in the other architecture's folder are left out."""
    other = SOURCES / _OTHER_ARCH_ONLY[arch]
    return [path for path in sorted(SOURCES.rglob("*.[chS]")) if other not in path.parents]


def witness(arch: str = "x86_64") -> Path:
    """The path of the built witness (a PE image for `-kernel`), built where the cache has no whole one."""
    built = cache_folder() / f"witness-{arch}-{source_hash(arch)}.efi"
    if not _whole(built):
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            image = _build(arch, Path(folder))
            image.replace(built)  # at once: another process may be building, too
    return built


def source_hash(arch: str) -> str:
    """A short name for these sources and the way they are built, which this file tells."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sources(arch):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def compile_one(source: Path, arch: str, folder: Path, *extra: str) -> Path:
    """The object file made of `source` in `folder`; `extra` are further options for gcc.  JudgeError when it fails."""
    built = folder / f"{source.name}.o"
    _run(["gcc", *_COMPILE, *_BY_ARCH[arch][0], *extra, f"-I{SOURCES}", "-c", str(source), "-o", str(built)], folder)
    return built


def _build(arch: str, folder: Path) -> Path:
    objects = [compile_one(path, arch, folder) for path in sources(arch) if path.suffix != ".h"]
    image = folder / "witness.efi"
    entry = ["-e", "efi_main", "--subsystem", _SUBSYSTEM_EFI_APPLICATION, "--image-base", "0", "-s"]
    _run(["ld", *_BY_ARCH[arch][1], *entry, "-o", str(image), *map(str, objects)], folder)
    image.write_bytes(_for_firmware(image.read_bytes()))
    return image


def _for_firmware(image: bytes) -> bytes:
    """The linker's PE image as firmware takes it: padded, and not marked as one that cannot be moved.

    For ld an image without relocations is fixed; ours needs none.  Offsets: Microsoft's PE format, COFF file header.
    """
    header = int.from_bytes(image[0x3C:0x40], "little") + 4
    flags = header + 18
    movable = image[flags] & ~_IMAGE_FILE_RELOCS_STRIPPED
    padded = (image[:flags] + bytes([movable]) + image[flags + 1 :]).ljust(_PADDED_SIZE - _DIGEST().digest_size, b"\0")
    return padded + _DIGEST(padded).digest()


def _whole(built: Path) -> bool:
    """True for a file that is as `_for_firmware` has made it: not one that a full disk or a crash has cut short."""
    try:
        image = built.read_bytes()
    except OSError:
        return False
    size = _DIGEST().digest_size
    return len(image) >= _PADDED_SIZE and image[-size:] == _DIGEST(image[:-size]).digest()


def _run(command: list[str], folder: Path) -> None:
    """Run a tool whose temporary files go to `folder`, so that they do not outlive it."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"TMPDIR": str(folder)}
    )
    if done.returncode:
        first = (done.stderr or done.stdout).strip().partition("\n")[0]
        raise JudgeError(f"{command[0]} could not build the witness: {first}")
