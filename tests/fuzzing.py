"""What reads text from outside, as targets for random bytes: each either reads them or refuses them in one clear line.

`python tests/fuzzing.py TARGET [options of libFuzzer] [corpus]` sends bytes that atheris finds by watching which lines
of the readers they reach; `make nightly` runs it for a few seconds, `make fuzz` for a minute.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

COLUMNS = 72
LONGEST_MESSAGE = 1000


def read_a_map(data):
    """Bytes as a log: read, told in printable lines of at most 72 columns, and the same when written and read again."""
    from efimm.maps.formats import write_map
    from efimm.text import text
    from efimm.uefi import MapError, read_map

    try:
        found = read_map(io.BytesIO(data))
    except MapError as error:
        one_printable_line(error)
        return
    assert read_map(write_map(found)) == found
    for line in text(found).splitlines():
        assert len(line) <= COLUMNS, line
        assert line.isprintable(), line


def check_a_log(data):
    """Bytes as a log given to `efimm check`: an answer in printable lines, or one line that says what is wrong."""
    from efimm.check import check, checked
    from efimm.machines import MachineError
    from efimm.uefi import MapError

    try:
        said = checked(check(io.BytesIO(data)), "LOG")
    except (MapError, MachineError) as error:
        one_printable_line(error)
        return
    assert all(line.isprintable() and len(line) <= COLUMNS for line in said.splitlines())


def redact_a_log(data):
    """Bytes as a log to be sent: printable lines, or one line that says what is wrong."""
    from efimm.maps.redact import redacted
    from efimm.uefi import MapError

    try:
        assert all(line.replace("\t", " ").isprintable() for line in redacted(io.BytesIO(data)))
    except MapError as error:
        one_printable_line(error)


def read_a_line_of_a_mail(data):
    """Bytes as a pasted command: a view that says the same when it is written again."""
    from efimm.machines import MachineError
    from efimm.show.ram.slider import view_of

    try:
        view = view_of(data.decode("utf-8", "replace"))
    except MachineError as error:
        one_printable_line(error)
        return
    assert view_of(view.line) == view


def read_a_size(data):
    """Bytes as a RAM size and as an address."""
    from efimm.machines import MachineError, machine, parse_address, parse_size

    typed = data.decode("utf-8", "replace")
    for parse in (parse_size, parse_address, machine):
        try:
            parse(typed)
        except MachineError as error:
            one_printable_line(error)


def read_an_answer(data):
    """Bytes as an answer to a question: never an error, and right only for the right number."""
    from efimm.exercises.answers import Question
    from efimm.machines import number

    typed = data.decode("utf-8", "replace")
    assert Question("?", 272).check(typed).right == (number(typed) == 272)


def read_table_files(data):
    """Bytes as tables.json, and as tables.npz beside a good one."""
    from efimm.x86 import load_tables
    from efimm.x86.tablefile import TableFileError

    good = json.dumps({"mode": "4level", "roots": {"pgd": "0x1000"}}).encode()
    with tempfile.TemporaryDirectory() as folder:
        for about, pages in ((data, b""), (good, data)):
            Path(folder, "tables.json").write_bytes(about)
            Path(folder, "tables.npz").write_bytes(pages)
            try:
                load_tables(folder)
            except TableFileError as error:
                one_printable_line(error)


def hear_a_witness(data):
    """Bytes as what a guest said on its serial port before it died."""
    from efimm.judges.host import JudgeError
    from efimm.judges.testimony import read_testimony

    try:
        read_testimony(data.decode("utf-8", "replace").splitlines())
    except JudgeError as error:
        one_printable_line(error)


def read_a_kernels_file(data):
    """Bytes as the file of a kernel."""
    from efimm.judges.host import JudgeError
    from efimm.judges.linux import kernel_file

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vmlinuz").write_bytes(data)
        try:
            assert kernel_file(Path(folder, "vmlinuz")).release.isprintable()
        except JudgeError as error:
            one_printable_line(error)


def one_printable_line(error):
    """The message can be shown on a terminal: no line break, no escape sequence, and it comes to an end."""
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < LONGEST_MESSAGE, len(str(error))


TARGETS = {
    target.__name__: target
    for target in (
        read_a_map,
        check_a_log,
        redact_a_log,
        read_a_line_of_a_mail,
        read_a_size,
        read_an_answer,
        read_table_files,
        hear_a_witness,
        read_a_kernels_file,
    )
}


def main():
    import atheris

    target = TARGETS[sys.argv[1]]
    with atheris.instrument_imports(include=["efimm"]):
        target(b"")  # it imports what it needs
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
