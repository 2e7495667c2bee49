"""An independent look at a folder of public boot logs: every range that `efimm` reads against another parser's.

`python tests/maps/independent_logs.py FOLDER` takes files as they lie in an archive (raw mails, logs), reads each with
efimm and with the few patterns below, which share no code with it, and prints for each: what was found, whether all
ranges are equal, and why efimm refused it.  With `--expected tests/public-logs.json` the files are those of that list,
found by their hash, and another verdict or fault than the list's makes the exit status 1.  It
needs no network; where the files come from stands in the list.
"""

import argparse
import email
import gzip
import hashlib
import html
import json
import lzma
import re
import sys
from collections import Counter
from pathlib import Path

# What may stand between two words of an entry: blanks, and the line break of a mailer with its quote marks.
B = r"(?:[ \t\xa0]|\r?\n(?:[>|][ \t]?)*)"
E820 = re.compile(
    rf"BIOS-e820:{B}*(?:\[mem{B}+0x([0-9a-f]+){B}?-{B}?0x([0-9a-f]+)\]|([0-9a-f]{{16}}){B}+-{B}+([0-9a-f]{{16}})){B}+\(?"
    rf"(usable|System{B}+RAM|(?:device{B}+|soft{B}+)?reserved|ACPI{B}+data|ACPI{B}+NVS|unusable|type{B}+[0-9]+"
    rf"|persistent{B}+\(type{B}+[0-9]+\))"
)
EFI = re.compile(
    rf"(?:efi|EFI):{B}+mem([0-9]+):{B}+([^\n]*?(?:\n[^\n]*?)?)range=\[0x([0-9a-f]+){B}?-{B}?0x([0-9a-f]+)([\])])"
)
RAM = ("usable", "System")


def texts(data):
    """The parts of a mail, or the file itself, as text."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:6] == b"\xfd7zXZ\0":
        data = lzma.decompress(data)
    if not re.match(rb"[\w-]+: |From ", data):
        yield html.unescape(re.sub(r"<br ?/?>", "", data.decode("utf-8", "replace")))
        return
    mail = email.message_from_bytes(data)
    parts = [part for part in mail.walk() if not part.is_multipart()]
    plain = any(part.get_content_type() == "text/plain" for part in parts)
    for part in parts:
        if part.get_content_type() == "text/html" and plain:
            continue
        body = part.get_payload(decode=True) or b""
        if body[:2] == b"\x1f\x8b" or body[:6] == b"\xfd7zXZ\0":
            yield from texts(body)  # of an archive, the logs in it stand one after the other
        elif part.get_content_maintype() in ("text", "application"):
            yield body.decode("utf-8", "replace")


def e820_lists(text):
    """Every printing of the list, entries as (start, end, first word); a start that goes back begins another one."""
    lists = []
    for new_start, new_last, old_start, old_end, word in E820.findall(text):
        start = int(new_start or old_start, 16)
        end = int(new_last, 16) + 1 if new_last else int(old_end, 16)
        if not lists or start <= lists[-1][-1][0]:
            lists.append([])
        lists[-1].append((start, end, " ".join(re.sub(r"[>|]", " ", word).split())))
    return lists


def efi_lists(text):
    """Every printing of the EFI list, entries as (start, end)."""
    lists = []
    for number, _, start, end, bracket in EFI.findall(text):
        if not lists or int(number) == 0:
            lists.append([])
        last = int(end, 16) + (bracket == "]")
        lists[-1].append((int(start, 16), 0 if last > 1 << 63 else last))
    return lists


def ram(entries):
    """The RAM of a list, touching pieces joined."""
    joined = []
    for start, end, word in sorted(entries):
        if word.split()[0] not in RAM:
            continue
        if joined and joined[-1][1] >= start:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return joined


def look(data):
    """What the patterns find in a file: the different e820 lists, and how many entries the first EFI list has."""
    text = "\n".join(texts(data))
    every = e820_lists(text)
    different = []
    for one in every:
        if not any(one[: len(each)] == each[: len(one)] for each in different):
            different.append(one)
        else:
            different = [one if one[: len(each)] == each and len(one) > len(each) else each for each in different]
    efi = efi_lists(text)
    return {
        "boots": len(different),
        "lists": [[list(entry) for entry in one] for one in different],
        "efi": len(efi[0]) if efi else 0,
    }


FAULT = re.compile(
    rf"BUG: unable to handle (?:kernel )?(?:paging request|page fault|NULL pointer dereference)"
    rf"(?: at|[^\n]{{0,14}}address:){B}*(?:0x)?([0-9a-f]{{8,16}})|BUG: kernel NULL pointer dereference, address:{B}*"
    rf"(?:0x)?([0-9a-f]{{8,16}})|caused by firmware at PA:{B}*0x([0-9a-f]+)"
)
WALK = re.compile(
    rf"PGD{B}+([0-9a-f]+)(?:{B}+P4D{B}+([0-9a-f]+))?(?:{B}+PUD{B}+([0-9a-f]+))?(?:{B}+PMD{B}+([0-9a-f]+))?(?:{B}+PTE{B}+([0-9a-f]+))?"
)
CODE = re.compile(r"error_code\(0x([0-9a-f]+)\)|Oops: (?:Oops: )?([0-9a-f]{4}) \[#")


def faults(data):
    """Each page fault that is printed in a file: its address, its error code, the entries of its walk."""
    text = "\n".join(texts(data))
    starts = list(FAULT.finditer(text))
    told = []
    for number, found in enumerate(starts):
        behind = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        part = text[found.end() : min(found.end() + 9000, behind)]
        code, walk = CODE.search(part), WALK.search(part)
        told.append(
            {
                "address": int(found[1] or found[2] or found[3], 16),
                "error_code": int(code[1] or code[2], 16) if code else None,
                "entries": [int(entry, 16) for entry in walk.groups() if entry] if walk else [],
                "efi": bool(re.search(r"\befi_|virt_efi|efivar|caused by firmware", found[0] + part)),
            }
        )
    return told


def whole(data):
    """Whether a person finds a whole list: under its heading, from address 0 on, with at least four entries."""
    text = "\n".join(texts(data))
    return "physical RAM map" in text and any(len(one) >= 4 and one[0][0] < 0x1000 for one in e820_lists(text))


def judge(data):
    """One file: "equal", "refused", "several boots", "no list" or "DIFFERENT", and what there is to say."""
    import io

    from efimm.maps.formats import MapError, read

    found = look(data)
    try:
        reading = read(io.BytesIO(data))
    except MapError as error:
        said = str(error)
        if "a second boot begins here" in said:
            return "several boots", f"{found['boots']} lists: {said}"
        return ("no list" if not found["lists"] and not found["efi"] else "refused"), said
    ours = [[e.start, e.end] for e in reading.map.e820]
    if not found["lists"]:
        return "other list", "; ".join(each.words for each in reading.lists)
    theirs = [[[start, end] for start, end, _ in one] for one in found["lists"]]
    note = "; ".join(reading.map.notes)
    if ours in theirs and [list(piece) for piece in _ram(reading.map.e820)] in [
        ram(map_rows(one)) for one in found["lists"]
    ]:
        return "equal", note
    return "DIFFERENT", f"efimm {len(ours)} entries, the patterns {[len(one) for one in theirs]}; {note}"


def told_faults(data):
    """The addresses of the faults that efimm reads in a file."""
    import io

    from efimm.maps.boots import NoMapError
    from efimm.maps.formats import MapError, read

    try:
        found = read(io.BytesIO(data), 1).oopses
    except NoMapError as error:
        found = error.oopses
    except MapError:
        return []
    return [one.address for one in found if one.address is not None and "KASAN" not in one.kind]


def map_rows(one):
    return [(start, end, word) for start, end, word in one]


def _ram(entries):
    from efimm.uefi.memmap import ram_ranges

    return list(ram_ranges(entries))


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--expected", type=Path)
    given = options.parse_args()
    wanted = json.loads(given.expected.read_text())["logs"] if given.expected else None
    by_hash = {row["sha256"]: row for row in wanted} if wanted else {}
    counts = Counter()
    known = json.loads(given.expected.read_text())["oopses"] if given.expected else []
    oopses = {}
    for row in known:
        oopses.setdefault(row["sha256"], set()).add(row["address"])
    for path in sorted(given.folder.iterdir()):
        data = path.read_bytes()
        sha = hashlib.sha256(data).hexdigest()
        if sha in oopses:
            verdict = "equal faults" if oopses[sha] <= set(told_faults(data)) else "OTHER FAULTS"
            counts[verdict] += 1
        if wanted and sha not in by_hash:
            continue
        verdict, words = judge(data)
        counts[verdict] += 1
        if wanted and verdict != by_hash[sha]["verdict"]:
            counts["OTHER VERDICT"] += 1
            words = f"not {by_hash[sha]['verdict']}, as expected; {words}"
        sys.stdout.write(f"{verdict:14} {path.name[:24]:24} {words[:300]}\n")
    sys.stdout.write(f"{dict(counts)}\n")
    return 1 if counts["DIFFERENT"] or counts["OTHER FAULTS"] or counts["OTHER VERDICT"] else 0


if __name__ == "__main__":
    sys.exit(main())
