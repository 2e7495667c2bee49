"""The top-level tables side by side: every kernel, every kind of tables, held against the kernel's own memory."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from test_pictures import corners

import efimm
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.pgtable import pgd_alloc, stale_slots
from efimm.lives import OWN_TABLES, story_now, story_of, story_saved
from efimm.machines import linux_runs, table_files
from efimm.show.drawing.frames import pack
from efimm.show.drawing.pack import unpacked
from efimm.show.drawing.shapes import Circle, Rect, Text
from efimm.show.tables_view import (
    BEHIND,
    NONE,
    WORDS,
    describe,
    draw,
    frame,
    sentences,
    state_of,
    tables_view,
    title,
)
from efimm.trace import EntryWrite
from efimm.x86 import LONG5, PhysMemory, load_tables
from efimm.x86.modes import ADDRESS_MASK

LINE, GIB, NIGHT = 512 << 30, 1 << 30, pytest.mark.nightly
MACHINES = (("1G", "x86_64"), ("1T", "x86_64"), ("64T", "x86_64"), ("1G", "i386"), ("4G", "i386"), ("4G", "i386-pae"))
CASES = [
    (name, ram, arch) for name, kernel in efimm.KERNELS.items() for ram, arch in MACHINES if kernel.has_build_for(arch)
]


EVERYWHERE = ("3.5", "hpa-sync", "4.6")  # the bug, the plan, the first with a table of EFI's own
BY_DAY = [case for case in CASES if case[0] in EVERYWHERE or case[1:] == ("1T", "x86_64")]


@pytest.fixture(scope="module", params=[pytest.param(BY_DAY, id="some"), pytest.param(CASES, id="all", marks=NIGHT)])
def states(request):
    """Three kernels on every machine, and all of them on one; at night all on all."""
    return {case: state_of(story_of(*case)) for case in request.param}


def moments(state):
    return range(len(state.story.moments))


def every(states):
    for state in states.values():
        for moment in moments(state):
            yield state, moment


def moment_called(state, label):
    return next(k for k, moment in enumerate(state.story.moments) if moment.label == label)


# what is compared


def slots_of(text):
    """Slots as a picture names them, "272-274, 402", one by one."""
    runs = [re.split("–", part) for part in re.search(r"\[(.*)\]", text)[1].split(", ")]
    return [slot for run in runs for slot in range(int(run[0]), int(run[-1]) + 1)]


@pytest.mark.parametrize("arch", ["x86_64", "i386", "i386-pae"])
@pytest.mark.parametrize("kernel", ["3.5", "hpa-sync"])
def test_who_is_behind_is_what_the_kernels_tables_say(kernel, arch):
    linux = efimm.boot(efimm.machine("4G", arch=arch), kernel)
    for name in ("a", "b"):
        pgd_alloc(linux, name)
    if arch == "x86_64":
        linux.swapper_pg_dir[300] = 0x1234_5067
        linux.pgd_list.page_get_mm(next(iter(linux.pgd_list)).pgd).pgd[272] = 0x7654_3067
    state = state_of(story_now(linux))

    found = {text.partition("[")[0]: slots_of(text) for text in state.behind(0)}
    assert found == stale_slots(linux)
    assert bool(found) == (arch == "x86_64" or (arch, kernel) == ("i386", "3.5"))


def test_what_was_written_is_what_the_trace_says():
    linux = efimm.boot(efimm.machine("4G"), "3.5")
    for name in ("a", "b"):
        pgd_alloc(linux, name)
    before = story_now(linux)
    with linux.trace.record() as events:
        arch_add_memory(linux, 3 * LINE, GIB)
    after = story_now(linux)
    state = state_of(replace(after, moments=before.moments + after.moments))

    tables = {table.name for table in after.moments[0].tables}
    writes = {(e.table, e.index) for e in events if isinstance(e, EntryWrite) and e.table in tables}
    assert {(text.partition("[")[0], slot) for text in state.written(1) for slot in slots_of(text)} == writes
    assert writes == {("swapper_pg_dir", 275), ("a's pgd", 275), ("b's pgd", 275)}


def test_rows_cover_all_slots_and_folding_hides_nothing(states):
    for state in states.values():
        story = state.story
        assert [slot for row in state.rows for slot in range(row.first, row.last + 1)] == list(
            range(len(story.regions))
        )
        for moment in moments(state):
            for row in state.rows:
                for column, cell in enumerate(row.cells[moment]):
                    table = state.table(moment, column)
                    assert (table is None) == (cell.kind == NONE)
                    words = table.words[row.first : row.last + 1] if table else ()
                    assert tuple(word & ADDRESS_MASK for word in words if word) == cell.leads
                    assert len(cell.leads) in (0, row.last - row.first + 1)
                    behind = {slot in table.stale for slot in range(row.first, row.last + 1)} if table else {False}
                    assert behind == {cell.kind in BEHIND}


def test_equal_letters_mean_equal_lower_tables(states):
    for state, moment in every(states):
        cells = [cell for row in state.rows for cell in row.cells[moment]]
        for cell in cells:
            sharing = [other for other in cells if other.leads == cell.leads != ()]
            assert bool(cell.letter) == (len(sharing) > 1)
            assert {other.letter for other in sharing} <= {cell.letter}
        for one in cells:
            assert {other.leads for other in cells if other.letter == one.letter != ""} <= {one.leads}


# what kernels are known for


@pytest.mark.parametrize("name", ["3.5", "va-patch"])
def test_in_3_5_the_trampoline_is_never_brought_up_to_date(states, name):
    state = states[name, "1T", "x86_64"]
    behind = [set(slots_of(state.behind(moment)[0])) for moment in moments(state)]

    assert all(state.behind(moment)[0].startswith("trampoline_pgd[") for moment in moments(state))
    assert all(earlier <= later for earlier, later in pairwise(behind))
    assert not any("trampoline" in text for moment in moments(state) for text in state.written(moment))


def test_in_3_5_processes_learn_of_vmalloc_by_a_fault_and_of_memory_at_once(states):
    state = states["3.5", "1T", "x86_64"]
    ioremap, read, sync, added = (moment_called(state, label) for label in ("ioremap", "read", "sync", "hot-add"))

    assert state.written(ioremap) == ["swapper_pg_dir[403]"]
    assert state.written(read) == ["shell's pgd[403]"]
    assert "vmalloc_fault copies" in state.story.moments[read].note
    assert state.written(sync) == ["init's pgd[403]"]
    assert state.written(added) == [f"{name}[275]" for name in ("swapper_pg_dir", "init's pgd", "shell's pgd")]


def test_hpas_plan_leaves_nobody_behind_once_a_process_has_stumbled(states):
    state = states["hpa-sync", "1T", "x86_64"]
    assert [state.behind(moment) for moment in moments(state)] == [[]] * len(state.story.moments)

    small = states["hpa-sync", "4G", "i386"]
    assert not any("initial" in text for moment in moments(small) for text in small.behind(moment))


def test_6_1_has_made_all_slots_of_the_vmalloc_area_before(states):
    state = states["6.1", "1T", "x86_64"]
    for label in ("ioremap", "read", "sync"):
        assert state.written(moment_called(state, label)) == []
    assert "no fault" in state.story.moments[moment_called(state, "read")].note
    assert state.written(moment_called(state, "EFI call")) == ["efi_pgd[276]"]


def test_pae_processes_share_the_kernels_table_and_are_on_no_list(states):
    for (_, _, arch), state in states.items():
        if arch != "i386-pae":
            continue
        last = state.story.moments[-1]
        assert len(state.story.regions) == 4
        assert [table.role for table in last.tables] == ["init_mm"] + ["not on pgd_list"] * 3
        assert not any(state.behind(moment) for moment in moments(state))
        kernel = next(row for row in state.rows if row.first == 3)
        assert len({cell.letter for cell in kernel.cells[-1]}) == 1


def test_a_kernel_that_dies_in_the_firmware_has_no_such_moment(states):
    labels = {case: [moment.label for moment in state.story.moments] for case, state in states.items()}

    assert "EFI's table" not in labels["3.5", "1T", "x86_64"]
    assert "EFI's table" in labels["4.6", "1T", "x86_64"]
    assert "hot-add" not in labels["4.6", "4G", "i386"]


# the scene and its twin


def test_everything_stands_inside_the_picture_and_the_picture_keeps_its_size(states):
    for state in states.values():
        scenes = [draw(state, moment) for moment in moments(state)]
        assert len({scene.height for scene in scenes}) == 1
        assert len(state.rows) <= 24
        for scene in scenes:
            for shape in scene.shapes:
                assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in corners(shape)), shape


def test_rows_stand_still_from_moment_to_moment(states):
    for state in states.values():
        labels = [
            [(s.y, s.text) for s in draw(state, moment).shapes if isinstance(s, Text) and s.x == 88]
            for moment in moments(state)
        ]
        assert all(one == labels[0] for one in labels)


def test_the_twin_has_at_most_72_columns_and_says_what_the_scene_says(states):
    for state, moment in every(states):
        lines = describe(state, moment).splitlines()
        joined = " ".join(" ".join(lines).split())
        assert max(map(len, lines)) <= 72
        assert all(" ".join(sentence.split()) in joined for sentence in sentences(state, moment))
        marks = {line.split()[0]: re.sub(r"\W+", " ", line) for line in lines if re.match(r" *\d+(–\d+)? ", line)}
        for row in state.rows:
            for cell in row.cells[moment]:
                assert cell.letter in marks[row.numbers].split() or not cell.letter
                assert WORDS[cell.kind].split(" ")[0] in marks[row.numbers]


def test_the_scene_draws_each_cell_once(states):
    for state, moment in every(states):
        scene = draw(state, moment)
        items = [shape for shape in scene.shapes if isinstance(shape, Rect) and shape.role.endswith(" item")]
        cells = [cell for row in state.rows for cell in row.cells[moment]]
        assert len(items) == sum(cell.kind != NONE for cell in cells)
        assert sum("just written" in item.tip for item in items) == sum(cell.fresh for cell in cells)
        fresh = [shape for shape in scene.shapes if isinstance(shape, Rect) and shape.role == "fresh" and shape.tip]
        assert len(fresh) == sum(cell.fresh for cell in cells)
        gaps = [item for item in items if item.role.startswith("gap")]
        assert len(gaps) == sum(cell.kind in BEHIND for cell in cells)
        assert all(item.tip for item in items)


def test_beads_ask_for_their_moments(states):
    for state, moment in every(states):
        beads = [s for s in draw(state, moment).shapes if isinstance(s, Circle) and s.moment >= 0]
        assert [bead.moment for bead in beads] == list(moments(state))
        assert [bead.tip.split(";")[0] for bead in beads] == [found.label for found in state.story.moments]
        assert ["behind" in bead.tip for bead in beads] == [bool(state.behind(number)) for number in moments(state)]


# the widget


def test_the_view_shows_one_moment_at_a_time():
    view = tables_view("3.5", "1T")
    view.moment = 3
    assert "[ioremap]" in repr(view)
    with pytest.raises(ValueError, match="moment 7: expected a number from 0 to 6"):
        view.moment = 7


def test_what_is_sent_is_what_python_drew(states):
    state = states["6.1", "1T", "x86_64"]
    frames = [frame(state, moment) for moment in moments(state)]
    sent = unpacked(tables_view("6.1", "1T").frames)

    assert sent == pack(frames)
    for one, (height, name, _, shapes, lines, words, good) in zip(frames, sent["scenes"], strict=True):
        assert [sent["shapes"][k] for k in shapes] == [shape.plain() for shape in one.scene.shapes]
        assert "\n".join(sent["lines"][k] for k in lines) == one.twin
        assert (height, name, words, good) == (one.scene.height, one.scene.title, one.words, one.good)


def test_a_booted_kernel_is_shown_as_it_is_with_three_processes_at_most():
    linux = efimm.boot(efimm.machine("4G"), "3.5")
    for number in range(5):
        pgd_alloc(linux, f"p{number}")
    view = tables_view(linux)

    assert len(view.shown) == 1
    assert "2 more processes are on pgd_list." in repr(view)
    assert "p2's pgd" in repr(view)
    assert "p3's pgd" not in repr(view)
    assert not any(isinstance(shape, Circle) for shape in view.shown[0].scene.shapes)


def test_a_machine_with_a_long_name_is_cut_in_the_picture_only():
    machine = efimm.machine(map=replace(efimm.machine("4G").map, title="x" * 200))
    state = state_of(story_now(efimm.boot(machine, "3.5")))

    assert max(len(shape.text) for shape in draw(state, 0).shapes if isinstance(shape, Text)) == 120
    assert "x" * 200 in title(state, 0)
    assert max(map(len, describe(state, 0).splitlines())) <= 72


def test_titles_name_kernel_and_moment(states):
    for state, moment in every(states):
        assert state.story.whose in title(state, moment)
        assert state.story.moments[moment].label in title(state, moment)


# saved tables


SAVED = {**table_files(), **linux_runs()}


@pytest.mark.parametrize("name", SAVED)
def test_saved_tables_stand_side_by_side_with_the_kernels_own_first(name):
    memory, roots, mode = load_tables(SAVED[name])
    view = tables_view((memory, roots, mode))
    state = state_of(story_saved(memory, roots, mode))

    assert set(state.names) == set(roots)
    assert state.names[0] in (*OWN_TABLES, next(iter(roots)))
    assert [line for line in view.shown[0].twin.splitlines() if len(line) > 72] == []
    filled = {slot for row in state.rows for slot in range(row.first, row.last + 1) if row.cells[0][0].entry}
    start, size = roots[state.names[0]] & mode.root_mask, mode.entry_bytes
    words = [memory.read_word(start + size * slot, size) for slot in range(1 << mode.levels[0].bits)]
    assert filled == {slot for slot, word in enumerate(words) if word}


def test_the_firmwares_table_of_a_real_kernel_shares_all_of_the_kernels_half_but_slot_511():
    state = state_of(story_saved(*load_tables(linux_runs()["debian-6.1-above"])))
    efi = state.names.index("at_the_call")
    own = [row for row in state.rows if row.cells[0][efi].kind == "own"]

    assert not state.behind(0)
    assert [0, 1, 511] == [slot for row in own for slot in range(row.first, row.last + 1)]


def test_saved_tables_of_five_levels_have_as_many_slots(chain):
    memory = PhysMemory()
    chain(memory, 0x1000, 0x2063)
    state = state_of(story_saved(memory, {"top": 0x1000}, LONG5))

    assert state.rows[-1].last == 511
