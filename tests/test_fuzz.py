"""Every reader of text against damaged bytes: by Hypothesis, and by atheris, which watches the code that they reach."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_any_log import PACKED
from test_faults import new, old
from test_formats import E820_LINES, EFI_LINES, PREFIXES
from test_judge_linux import bzimage
from test_other_formats import XEN_NOW, XEN_OLD

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
SECONDS = int(os.environ.get("EFIMM_FUZZ_SECONDS", "2"))  # for each reader; `make fuzz` takes a minute
LARGEST_SEED = 1 << 16

LINES = [line for line, _ in (*EFI_LINES.values(), *E820_LINES.values())]
SEEDS = [
    *(line.encode() + b"\n" for line in LINES),
    *(prefix.encode() + LINES[0].encode() + b"\n" for prefix in PREFIXES.values() if isinstance(prefix, str)),
    XEN_NOW.encode(),
    XEN_OLD.encode(),
    *(path.read_bytes()[:4096] for path in sorted(DATA.glob("*.toml"))),
    *PACKED.values(),
    old(0xC63F438020, 0, [0]).encode(),
    new(0x5BC02900, 0x11, [0x18F7063, 0x18F7063, 0x18FF063, 0x190E063]).encode(),
    b"Type      Physical start  - end             #Pages        Size Attributes\n"
    b"conv-mem  0000000000000000-000000000009ffff 000000a0     640KiB UC WC WT WB\n",
    b"00000000-0009ffff : System RAM\n00100000-bfffffff : System RAM\n",
    b"SMAP type=01 base=0000000000000000 len=000000000009f000\n",
    b"efimm run --kernel 3.5 --ram 1T --buffer 0x8000000000 --page-size 2M",
    b"1.5T",
    b"0x8000001000",
    b"272",
    b"9" * 5000,  # more digits than Python turns into a number
    b"9" * 400 + b"G",
    b'{"mode": "4level", "roots": {"pgd": "0x1000"}}',
    (DATA / "tables" / "debian-6.1-i386" / "tables.npz").read_bytes()[:LARGEST_SEED],
    bytes(bzimage()),
    b"image base=0x1 size=0x2 word=8\nfirmware system_table=0x1\nmap descriptor_size=0x30\n"
    b"region type=0x5 start=0x1000 pages=0x1 attribute=0x8000000000000000\nservice name=GetTime status=0x0\ndone\n",
]


@st.composite
def damaged(draw):
    """A seed, or two, with some bytes replaced, cut out, repeated or put in."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 20)))
        data[start:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[start:end]) * 3)))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.one_of(damaged(), st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_damaged_text_is_read_or_refused_in_one_line(name, data):
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_themselves_are_read_or_refused(name):
    for seed in SEEDS:
        TARGETS[name](seed)


@pytest.mark.nightly  # what it finds depends on the time it has
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_are_chosen_by_the_code_they_reach_find_nothing_either(name, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={SECONDS}", "-seed=1", f"-max_len={LARGEST_SEED}", "-timeout=20", "-rss_limit_mb=2048"]
    # From a small process: Linux counts the most that this one took as its child's own.
    small = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"]
    command = [*small, str(HERE / "fuzzing.py"), name, *limits, f"-artifact_prefix={tmp_path}/", str(corpus)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 120, check=False, cwd=HERE.parent)

    assert found.returncode == 0, found.stderr[-3000:]
    assert "Done " in found.stderr
