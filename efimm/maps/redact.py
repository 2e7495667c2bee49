"""A log without what names a person or a single machine: serial numbers, UUIDs, MAC addresses, hosts and users.

What the readers need stays as it is: addresses of memory, the machine's model, the kernel's version, its options.  The
same word becomes the same stand-in everywhere, so that what belongs together still does.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from .errors import MapError, printable
from .sources import cleaned, decoded, numbered_lines
from .wrapped import QUOTE_MARKS

_UUID = re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")
_MAC = re.compile(
    r"(?<![0-9a-fA-F:])(?:[0-9a-fA-F]{2}-){6}[0-9a-fA-F]{2}(?![0-9a-fA-F-])|"  # BOOTIF=01-..., of a network's boot
    r"(?<![0-9a-fA-F:])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?:(?::[0-9a-fA-F]{2}){2,14})?(?![0-9a-fA-F:])"
)
# But no size at an address, as in memmap=64G@512G: such options decide the map.
_MAIL = re.compile(r"\b(?!\d{1,20}[KMGTPEkmgtpe]?@)[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})*\b")
_IPV4 = re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])")
_IPV6 = re.compile(
    r"(?<![\w:])(?:(?:[0-9a-fA-F]{1,4}:){3,7}(?::[0-9a-fA-F]{1,4}|[0-9a-fA-F]{1,4})"
    r"|(?:f[cde][0-9a-f]{2}|2[0-9a-f]{3})(?::[0-9a-fA-F]{1,4}){0,5}::(?:[0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{1,4})"
    r"(?:%\w{1,16})?(?![\w:])"
)
_SERIAL = re.compile(
    r"(?i)(?P<before>(?<![a-z])(?:serial(?:[ _]?number| no\.?|_short)?|S/N|sn|wwn|wwid|asset[ _]tag|service tag|LUN id"
    r"|IMEI)\s{0,8}[:=#]\s{0,8})(?P<value>[\w.+/-]{3,200}+)(?! driver)"
)
_NQN = re.compile(r"\bnqn\.[0-9]{4}[.-][0-9]{2}\.\S{3,200}")
_PARTUUID = re.compile(r"(?<=PARTUUID=)[0-9a-fA-F]{8}-[0-9a-fA-F]{2}\b")
_IQN = re.compile(r"(?<=\biqn\.)[0-9]{4}-[0-9]{2}\.[\w.:-]{3,200}")
_BARE_MAC = re.compile(r"(?<=MAC\()[0-9a-fA-F]{12}")  # of a boot entry's device path
_EUI64 = re.compile(r"(?<![0-9a-fA-F-])(?:[0-9a-fA-F]{2}-){7}[0-9a-fA-F]{2}(?![0-9a-fA-F-])")
_WWN = re.compile(r"\b(?:naa\.|eui\.|wwn-0x)[0-9a-fA-F]{16,32}\b")
_USER_WORDS = re.compile(
    r"(?P<before>\b(?:(?:user(?:name)?|USER|LOGNAME|ruser)\s?[=:]\s?|USER |(?:for|of|[Ii]nvalid) user |publickey for "
    r"|password for (?:invalid user )?|acct=)\"?|/home/|\\Users\\|/Users/)(?P<value>[A-Za-z_][\w.-]{0,62}\w|[A-Za-z_])"
)
_PROMPT = re.compile(
    r"(?P<before>^[^\w\[]{0,20}\[?)(?P<user>[a-z_][\w.-]{0,31})@(?P<host>[A-Za-z0-9][\w-]{0,62})"
    r"(?P<after>[: ][^\n]{0,200}[#$%](?: |$))"
)
_UNAME = re.compile(r"(?P<before>\bLinux )(?P<value>[A-Za-z0-9][\w.-]{0,253})(?= \d{1,2}\.\d{1,3}[\w.+~-]{0,60} #\d)")
_HOST_WORDS = re.compile(
    r"(?P<before>(?:[Hh]ostname set to|Set hostname to|(?:[Hh]ostname|HOSTNAME|nodename|systemd\.hostname)(?! set\b))"
    r"[ =:]{1,3}<?)(?P<value>[\w-](?:[\w.-]{0,251}[\w-])?)"
)
_BUILDER = re.compile(
    r"(?P<before>Linux version \S{1,80} \()(?P<user>[^@()\s]{1,64})@(?P<host>[^()\s]{1,253})(?P<after>\))"
)
# Times as syslog, RFC 5424 and the output modes of journalctl write them (short, -precise, -iso, -full, -unix).
_TIME = (
    r"(?:\[?[^\W\d]{2,5}\.? [ 0-9]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{4}-\d\d-\d\d[T ][\d:.,]{8,20}(?:Z|[+-]\d\d:?\d\d)?"
    r"|[^\W\d]{2,5}\.? \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})? [\w+-]{1,6}|\d{9,11}\.\d{1,9})"
)
_PROGRAM = r"[\w./@()-]{1,64}(?:\[\d{1,10}\])?:"
_SYSLOG = re.compile(
    rf"^(?P<before>{QUOTE_MARKS}(?:\d{{1,5}} )?(?:<\d{{1,3}}>)?"
    rf"(?:{_TIME} (?=[\w.-]{{1,253}} {_PROGRAM})"
    # RFC 5424: a version in front, and no colon behind the program.
    rf"|1 (?:{_TIME}|-) (?=[\w.-]{{1,253}} \S{{1,48}} \S{{1,128}} \S{{1,32}} )"
    # short-monotonic, short-delta: dmesg prints such times, too, and then no host; the kernel's name tells them apart.
    r"|\[[ \d.<>]{5,40}\] (?=[\w.-]{1,253} (?:kernel|systemd[\w-]{0,30}\[\d{1,10}\]): )))(?P<value>[\w.-]{1,253})"
)
_MACHINE_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")
_ALWAYS = (
    *(("uuid", _UUID), ("uuid", _PARTUUID), ("id", _MACHINE_ID), ("wwn", _WWN), ("wwn", _EUI64), ("nqn", _NQN)),
    *(("iqn", _IQN), ("mac", _BARE_MAC), ("mac", _MAC), ("mail", _MAIL), ("ip", _IPV4), ("ip", _IPV6)),
)
# Words that stand where a name might, among them those of what is read here, and of kernels.
_NO_NAMES = {
    *("root", "kernel", "localhost", "ttyS0", "systemd", "session", "the", "none", "and", "name", "namespace", "mode"),
    *("user", "data", "space", "memory", "usable", "reserved", "mem", "set", "efi", "type", "server", "Linux"),
    *("invalid", "access", "version"),
}
SHORTEST_SERIAL = 6  # characters, above which it is looked for everywhere


class Redactor:
    """Stand-ins for the words that were met: `host-1`, `user-2`, the same for the same word."""

    def __init__(self) -> None:
        self._stand_ins: dict[str, dict[str, str]] = {}
        self._names: dict[str, str] = {}

    def line(self, line: str) -> str:
        """`line` without names and numbers of one person or machine."""
        line = _BUILDER.sub(lambda m: f"{m['before']}user@host{m['after']}", line)
        line = _SYSLOG.sub(lambda m: f"{m['before']}{self._name('host', m['value'])}", line)
        line = _HOST_WORDS.sub(lambda m: f"{m['before']}{self._name('host', m['value'])}", line)
        line = _PROMPT.sub(self._prompt, line)
        line = _UNAME.sub(lambda m: f"{m['before']}{self._name('host', m['value'])}", line)
        line = _USER_WORDS.sub(lambda m: f"{m['before']}{self._name('user', m['value'])}", line)
        line = _SERIAL.sub(lambda m: f"{m['before']}{self._serial(m['value'])}", line)
        for kind, pattern in _ALWAYS:
            line = pattern.sub(partial(self._stand_in_of, kind), line)
        for name, stand_in in self._names.items():
            if name in line:
                line = re.sub(rf"(?<![A-Za-z0-9.-]){re.escape(name)}(?![\w-])", stand_in, line)
        return line

    def _serial(self, word: str) -> str:
        """The stand-in of a serial number, which has a place in the names of devices, too."""
        stand_in = self._stand_in("serial", word)
        if len(word) > SHORTEST_SERIAL:
            self._names[word] = stand_in
        return stand_in

    def _prompt(self, found: re.Match[str]) -> str:
        user, host = self._name("user", found["user"]), self._name("host", found["host"])
        return f"{found['before']}{user}@{host}{found['after']}"

    def _name(self, kind: str, word: str) -> str:
        """The stand-in of a name, which is then looked for everywhere."""
        if word in _NO_NAMES or word.isdigit() or re.fullmatch(r"(?:host|user)-\d+", word):
            return word
        self._names[word] = self._stand_in(kind, word)
        return self._names[word]

    def _stand_in_of(self, kind: str, found: re.Match[str]) -> str:
        return self._stand_in(kind, found[0])

    def _stand_in(self, kind: str, word: str) -> str:
        known = self._stand_ins.setdefault(kind, {})
        return known.setdefault(word.lower(), f"{kind}-{len(known) + 1}")


def redacted(source: str | os.PathLike[str] | BinaryIO, name: str = "<input>") -> Iterator[str]:
    """The lines of a log, decoded, without what names a person or a single machine; MapError for one that is no text.

    It knows what is listed above and no more: what a driver prints in its own words may remain, so look at it before
    it is sent.  An error calls an open file `name`.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield from redacted(file, str(source))
        return
    redactor = Redactor()
    try:
        with decoded(source) as text:
            for _, line in cleaned(numbered_lines(text)):
                yield "\t".join(map(printable, redactor.line(line).split("\t")))
    except MapError as error:
        raise MapError(f"{printable(name)}:{error}") from None
    except OSError as error:
        raise MapError(f"{printable(name)}: expected a readable file: {error.strerror}") from None


def redacted_text(text: str) -> str:
    """`redacted` for a text in memory."""
    return "".join(f"{line}\n" for line in redacted(io.BytesIO(text.encode("utf-8", "surrogateescape"))))
