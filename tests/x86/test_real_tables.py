"""Page tables of real kernels: what QEMU's own walker was asked gets the same answer, one by one and at once.

The captures (Debian's 6.1, QEMU 7.2, November 2026, our own) come with 18,375 answers of QEMU's debug walker, and with
its list of mapped ranges for every root.  QEMU sets the accessed bit in PAE's page-directory-pointer-table entries, in
which a processor would not accept it; a walk does not look at it.
"""

import csv
import json

import pytest
from captures import TABLES, text_of

from efimm.machines import table_files
from efimm.x86 import LONG4, PAE, PhysMemory, load_tables, mapped_ranges, walk
from efimm.x86.tablefile import TableFileError

np = pytest.importorskip("numpy")
translate = pytest.importorskip("efimm.x86.batch").translate

NAMES = sorted(path.name for path in TABLES.iterdir())
# The machines with 2 and with 600 GiB were captured twice, with and without page-table debugging; the large lists of
# ranges are read of one each by day, and of the others at night.
TWINS = ("a-2g-nokaslr", "b2-600g-nodebug")
MOST = [pytest.param(name, marks=pytest.mark.nightly if name in TWINS else ()) for name in NAMES]
SHIPPED = {
    "debian-6.1-2g": "a2-2g-nodebug",
    "debian-6.1-600g": "b-600g-nokaslr",
    "debian-6.1-i386": "e1-i386-legacy",
    "debian-6.1-i386-efi": "e3-i386-legacy-efi",
    "debian-6.1-i386-pae": "e2-i386-pae",
}


def oracle(name):
    """QEMU's answers by root: address, and physical address or None."""
    rows = csv.DictReader(text_of(TABLES / name / "oracle.csv").splitlines())
    by_root = {}
    for row in rows:
        pa = None if row["pa"] == "fault" else int(row["pa"], 0)
        by_root.setdefault(row["root"], []).append((int(row["va"], 0), pa))
    return by_root


def info_mem(name, root):
    """QEMU's ranges: start, end, and its letters for user, read and write."""
    fields = [line.split() for line in text_of(TABLES / name / f"info_mem.{root}.txt").splitlines()]
    return [(*(int(end, 16) for end in where.split("-")), letters) for where, _, letters in fields]


def as_qemu_prints(ranges):
    """The ranges with neighbours joined that differ only in what `info mem` does not show: no-execute."""
    joined = []
    for found in ranges:
        letters = f"{'u' if found.user else '-'}r{'w' if found.writable else '-'}"
        if joined and joined[-1][1:] == (found.va, letters):
            joined[-1] = joined[-1][0], found.end, letters
        else:
            joined.append((found.va, found.end, letters))
    return joined


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_of_qemus_walker_one_by_one(name):
    memory, roots, mode = load_tables(TABLES / name)
    rows = [(root, va, pa) for root, answers in oracle(name).items() for va, pa in answers]
    assert len(rows) >= 1800
    wrong = [(root, hex(va)) for root, va, pa in rows if walk(memory, roots[root], va, mode).pa != pa]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_of_qemus_walker_at_once(name):
    memory, roots, mode = load_tables(TABLES / name)
    for root, answers in oracle(name).items():
        vas = [va for va, _ in answers]
        pas, errors = translate(memory, roots[root], vas, mode)
        assert [pa if error == -1 else None for pa, error in zip(pas.tolist(), errors.tolist(), strict=True)] == [
            pa for _, pa in answers
        ]
        assert (errors == -13).tolist() == [not mode.is_canonical(va) for va in vas]


@pytest.mark.parametrize("name", MOST)
def test_mapped_ranges_are_those_of_info_mem(name):
    memory, roots, mode = load_tables(TABLES / name)
    for root, table in roots.items():
        expected = info_mem(name, root)
        assert expected
        assert as_qemu_prints(mapped_ranges(memory, table, mode, contiguous=False)) == expected


@pytest.mark.parametrize("name", MOST)
def test_contiguous_ranges_hold_the_same_bytes_and_every_answer(name):
    memory, roots, mode = load_tables(TABLES / name)
    for root, answers in oracle(name).items():
        ranges = mapped_ranges(memory, roots[root], mode)
        assert sum(r.size for r in ranges) == sum(end - start for start, end, _ in info_mem(name, root))
        starts = np.array([r.va for r in ranges], dtype=np.uint64)
        for va, pa in answers:
            place = int(np.searchsorted(starts, np.uint64(va), side="right")) - 1
            inside = place >= 0 and va < ranges[place].end
            assert (ranges[place].pa + va - ranges[place].va if inside else None) == pa, hex(va)


@pytest.mark.parametrize(("shipped", "capture"), SHIPPED.items())
def test_what_comes_with_the_project_is_the_capture(shipped, capture):
    ours, roots, mode = load_tables(table_files()[shipped])
    theirs, their_roots, their_mode = load_tables(TABLES / capture)
    assert (roots, mode) == (their_roots, their_mode)
    assert ours.words[8].keys() == theirs.words[8].keys()
    assert all(ours.read(pfn << 12, 4096) == theirs.read(pfn << 12, 4096) for pfn in ours.words[8])


def test_all_shipped_tables_are_known_and_say_where_they_come_from():
    assert sorted(table_files()) == sorted(SHIPPED)
    for path in table_files().values():
        about = json.loads((path / "tables.json").read_text())
        assert about["title"]
        assert "QEMU" in about["source"]


def test_the_array_of_the_600g_machine_is_identity_mapped_through_slot_1_of_the_efi_table_and_nowhere_else():
    memory, roots, mode = load_tables(table_files()["debian-6.1-600g"])
    array = 0x80001D8000
    found = {root: walk(memory, table, array, mode).pa for root, table in roots.items()}
    assert found == {"init_top_pgt": None, "efi_mm.pgd": array, "trampoline_pgd": None, "live_cr3": None}
    assert walk(memory, roots["efi_mm.pgd"], array).steps[0].index == 1


# bad input


@pytest.fixture
def folder(tmp_path):
    """A good pair of files, to be spoilt."""
    np.savez(tmp_path / "tables.npz", pfns=np.array([1], np.uint64), pages=np.zeros((1, 512), np.uint64))
    (tmp_path / "tables.json").write_text(json.dumps({"mode": "4level", "roots": {"top": "0x1000"}}))
    return tmp_path


def test_a_directory_and_either_file_name_the_same_tables(folder):
    for path in (folder, folder / "tables.npz", folder / "tables.json"):
        memory, roots, mode = load_tables(path)
        assert (roots, mode, list(memory.words[8])) == ({"top": 0x1000}, LONG4, [1])


@pytest.mark.parametrize(
    "about",
    [
        "", "[]", "{}", '{"mode": "4level"}', '{"mode": "6level", "roots": {"a": "0x1000"}}',
        '{"mode": "4level", "roots": {}}', '{"mode": "4level", "roots": {"a": "here"}}',
        '{"mode": "4level", "roots": {"a": "-1"}}', '{"mode": ["4level"], "roots": {"a": "1"}}', "\x00\xff",
    ],
)  # fmt: skip
def test_a_bad_json_is_one_line(folder, about):
    (folder / "tables.json").write_text(about, encoding="latin-1")
    with pytest.raises(TableFileError, match=r"tables\.json.*expected") as error:
        load_tables(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"pfns": np.array([1], np.uint64)},
        {"pfns": np.array([1, 2], np.uint64), "pages": np.zeros((1, 512), np.uint64)},
        {"pfns": np.array([1], np.uint64), "pages": np.zeros((1, 1024), np.uint32)},
        {"pfns": np.array([1], np.uint64), "pages": np.zeros((1, 512), np.float64)},
        {"pfns": np.array([1.5]), "pages": np.zeros((1, 512), np.uint64)},
        {"pfns": np.array([-1]), "pages": np.zeros((1, 512), np.uint64)},
        {"pfns": np.array([1 << 40], np.uint64), "pages": np.zeros((1, 512), np.uint64)},
        {"pfns": np.array([{}], object), "pages": np.zeros((1, 512), np.uint64)},
    ],
)
def test_bad_arrays_are_one_line(folder, arrays):
    np.savez(folder / "tables.npz", **arrays)
    with pytest.raises(TableFileError, match=r"tables\.npz.*expected") as error:
        load_tables(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", bytes(5000)])
def test_a_file_that_is_no_archive_is_one_line(folder, data):
    (folder / "tables.npz").write_bytes(data)
    with pytest.raises(TableFileError, match=r"tables\.npz"):
        load_tables(folder)


def test_a_truncated_archive_is_one_line(folder):
    whole = (folder / "tables.npz").read_bytes()
    for end in range(0, len(whole), 97):
        (folder / "tables.npz").write_bytes(whole[:end])
        with pytest.raises(TableFileError):
            load_tables(folder)


def test_pae_roots_need_no_page_of_their_own():
    memory, roots, mode = load_tables(TABLES / "e2-i386-pae")
    assert mode is PAE
    assert roots["live_cr3"] % 4096 == 0x320
    assert isinstance(memory, PhysMemory)
    slots = [step.pa for step in walk(memory, roots["live_cr3"], 0xC000_0000, mode).steps[:1]]
    assert slots == [roots["live_cr3"] + 3 * 8]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_numpy_writes_what_is_read_without_it(name, order, tmp_path):
    (path,) = (path for path in table_files().values() if path.name == name)
    (tmp_path / "tables.json").write_bytes((path / "tables.json").read_bytes())
    with np.load(path / "tables.npz") as saved:
        pfns, pages = saved["pfns"], saved["pages"]
    entries = pages.dtype.newbyteorder(order)
    np.savez(tmp_path / "tables.npz", pfns=pfns.astype("u4"), pages=pages.astype(entries))

    memory, _, _ = load_tables(tmp_path)

    for pfn, page in zip(pfns, pages, strict=True):
        assert memory.read(int(pfn) << 12, 4096) == page.tobytes()
