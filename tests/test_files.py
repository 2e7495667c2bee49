"""A good file stays good until the new one is complete, and a foreign folder stays as it is."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from efimm.files import MARK, making, own_folder, replacing, write_text

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


@pytest.fixture
def open_folder():
    """A folder in which we write without root's capabilities."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_a_file_without_write_permission_is_refused_as_a_shell_refuses_it(open_folder):
    good = open_folder / "file"
    good.write_bytes(b"good")
    good.chmod(0o444)
    with pytest.raises(PermissionError, match="file"):
        write_text(good, "better")
    assert good.read_bytes() == b"good"
    assert alone(good)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives a file away")
@pytest.mark.parametrize("named", [False, True])
def test_a_file_keeps_its_owner_and_all_its_rights(good, named, monkeypatch):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    os.chown(good, 65534, 65533)
    good.chmod(0o4751)
    write_text(good, "better")
    told = good.stat()
    assert (told.st_uid, told.st_gid, stat.S_IMODE(told.st_mode)) == (65534, 65533, 0o4751)


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_to_itself_is_no_place_for_a_file_and_one_to_nothing_is(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop") as refused:
        write_text(tmp_path / "loop", "x")
    assert refused.value.errno == errno.ELOOP
    assert (tmp_path / "loop").is_symlink()
    (tmp_path / "link").symlink_to("new")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_text() == "x"


@pytest.mark.parametrize("name", ["x" * 250, "漢" * 84], ids=["250", "84 of three bytes"])
@pytest.mark.parametrize("named", [False, True])
def test_the_longest_names_of_any_script_can_be_written(tmp_path, name, named, monkeypatch):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    for _ in range(2):
        assert alone(write_text(tmp_path / name, "x"))


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
def test_a_stream_is_written_to_whatever_it_leads_to(tmp_path):
    program = [sys.executable, "-c", "from efimm.files import write_text; write_text('/dev/stdout', 'x')"]
    assert subprocess.run(program, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout == b"x"
    gone = tmp_path / "gone"
    with gone.open("w+b") as file:
        gone.unlink()
        subprocess.run(program, check=True, cwd=ROOT, stdout=file)
        assert file.read() == b"x"
    assert list(tmp_path.iterdir()) == []


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


def test_a_folder_that_was_made_for_nothing_is_taken_away_again(tmp_path):
    def fails(folder, *pages):
        for page in pages:
            (folder / page).write_text("x")
        raise KeyboardInterrupt

    def refused(folder, *pages):
        with pytest.raises(KeyboardInterrupt), making(folder):
            fails(folder, *pages)

    (tmp_path / "there").mkdir()
    refused(tmp_path / "there")
    refused(tmp_path / "there" / "deep" / "er")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    refused(tmp_path / "new" / "folder", "page.html")
    with making(tmp_path / "good" / "folder"):
        pass
    kept = {"there", "new", "new/folder", "new/folder/page.html", "good", "good/folder"}
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == kept


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
