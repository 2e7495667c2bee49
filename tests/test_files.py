"""A good file stays good until the new one is complete, and a foreign folder stays as it is."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from efimm.files import MARK, own_folder, replacing, write_text

ROOT = Path(__file__).parents[1]


@pytest.fixture
def good(tmp_path):
    (tmp_path / "file").write_bytes(b"good")
    return tmp_path / "file"


def alone(path):
    return [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_changes_when_the_new_one_is_complete(good):
    with replacing(good) as file:
        file.write(b"better")
        file.flush()
        assert good.read_bytes() == b"good"
    assert good.read_bytes() == b"better"
    assert alone(good)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_what_goes_wrong_leaves_the_good_file_and_nothing_beside_it(good, error, named, monkeypatch):
    if named:  # a file system, or a system, that has no files without a name
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)

    def fails():
        with replacing(good) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error if isinstance(error, type) else OSError) as caught:
        fails()
    assert good.read_bytes() == b"good"
    assert alone(good)
    if isinstance(error, OSError):
        assert caught.value.filename == str(good)


@pytest.mark.parametrize("named", [False, True])
def test_a_new_file_and_its_rights(tmp_path, named, monkeypatch):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "new", "é\ud800")
        (tmp_path / "new").chmod(0o600)
        again = stat.S_IMODE((tmp_path / "new").stat().st_mode)
        write_text(tmp_path / "new", "x")
        kept = stat.S_IMODE((tmp_path / "new").stat().st_mode)
        write_text(tmp_path / "other", "x")
        fresh = stat.S_IMODE((tmp_path / "other").stat().st_mode)
    finally:
        os.umask(before)
    if os.name == "posix":
        assert (again, kept, fresh) == (0o600, 0o600, 0o644)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "other"]


@pytest.mark.skipif(os.name != "posix", reason="links and devices of POSIX")
def test_a_link_stays_a_link_and_a_device_a_device(good):
    link = good.with_name("link")
    link.symlink_to(good)
    write_text(link, "better")
    assert link.is_symlink()
    assert good.read_text() == "better"
    write_text("/dev/null", "x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device_is_an_error_that_names_it():
    with pytest.raises(OSError, match="/dev/full"), replacing("/dev/full") as file:
        file.write(b"x" * 100_000)


@pytest.mark.skipif(sys.platform != "linux", reason="files without a name are Linux's")
def test_who_is_killed_leaves_nothing(good):
    program = f"""
import os, signal
from efimm.files import replacing
with replacing({str(good)!r}) as file:
    file.write(b"half"); file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT)
    assert done.returncode == -9
    assert good.read_bytes() == b"good"
    assert alone(good)


def test_a_folder_is_filled_when_it_is_new_empty_or_ours(tmp_path):
    for name in ("new", "deep/er"):
        assert (own_folder(tmp_path / name) / MARK).is_file()
        (tmp_path / name / "page.html").write_text("ours")
        own_folder(tmp_path / name)
    (tmp_path / "empty").mkdir()
    own_folder(tmp_path / "empty")


def test_a_foreign_folder_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        own_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_truncated_witness_is_found_and_built_anew(tmp_path, monkeypatch):
    build = pytest.importorskip("efimm.judges.build")
    image = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(200)
    made = []

    def _build(_arch, folder):
        made.append(1)
        (folder / "witness.efi").write_bytes(build._for_firmware(image))
        return folder / "witness.efi"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "_build", _build)
    whole = build.witness().read_bytes()
    build.witness()
    assert len(made) == 1
    for damaged in (b"", whole[:1000], whole[:-1], whole[:500] + b"x" + whole[501:]):
        build.witness().write_bytes(damaged)
        assert build.witness().read_bytes() == whole
    assert len(made) == 5
