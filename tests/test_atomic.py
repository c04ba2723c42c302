"""Files are whole or not there; devices, pipes, links and permissions stay what they were."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shiftless.atomic import check_writable, write_atomic, write_atomic_pieces
from shiftless.errors import BadInput


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def fail_after_a_piece(path: Path, error: Exception) -> None:
    with write_atomic_pieces(path) as write:
        write(b"three")
        raise error


def in_pieces(path: Path, content: bytes) -> Path:
    with write_atomic_pieces(path) as write:
        for start in range(len(content)):
            write(content[start : start + 1])
    return path


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_follows_the_umask_and_an_old_one_keeps_its_mode(tmp_path, umask):
    path = write_atomic(tmp_path / "new" / "a.txt", b"one")
    assert (path.read_bytes(), mode(path)) == (b"one", 0o640)
    path.chmod(0o604)
    write_atomic(path, b"two")
    assert (path.read_bytes(), mode(path)) == (b"two", 0o604)
    assert os.listdir(path.parent) == ["a.txt"]


def test_an_open_reader_keeps_the_whole_old_file(tmp_path):
    path = write_atomic(tmp_path / "a.txt", b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new, and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new, and longer"


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    write_atomic(tmp_path / "far" / "real.txt", b"old")
    link = tmp_path / "link.txt"
    link.symlink_to(Path("far") / "real.txt")
    assert write_atomic(link, b"new") == link
    assert link.is_symlink()
    assert (tmp_path / "far" / "real.txt").read_bytes() == b"new"
    dangling = tmp_path / "dangling.txt"
    dangling.symlink_to("far/later.txt")
    check_writable(dangling)
    write_atomic(dangling, b"made")
    assert dangling.is_symlink()
    assert (tmp_path / "far" / "later.txt").read_bytes() == b"made"
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(BadInput, match="round: cannot be written"):
        write_atomic(tmp_path / "round", b"x")


def test_longest_names(tmp_path):
    name = "ä" * 125 + ".txt"  # 254 bytes
    check_writable(tmp_path / name)
    write_atomic(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("written", [write_atomic, in_pieces])
def test_nothing_stays_after_an_error(written, call, error, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else BadInput) as caught:
            written(tmp_path / "a.txt", b"new")
    if not isinstance(error, KeyboardInterrupt):
        assert str(caught.value) == (
            f"{tmp_path / 'a.txt'}: cannot be written (No space left on device); "
            "free some space or give a path on another disk"
        )
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_pieces_appear_together_and_errors_of_the_block_stay_what_they_are(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with write_atomic_pieces(path) as write:
        write(b"one")
        write(b"")
        assert not path.exists()
        write(b"two")
    assert path.read_bytes() == b"onetwo"
    for error in (FileNotFoundError("the block's own"), ValueError("the block's own")):
        with pytest.raises(type(error), match="the block's own") as caught:
            fail_after_a_piece(path, error)
        assert caught.value is error
    assert (path.read_bytes(), os.listdir(path.parent)) == (b"onetwo", ["a.txt"])
    with pytest.raises(BadInput, match="cannot be written"), write_atomic_pieces(path / "b.txt"):
        pass


def test_a_limit_on_file_size_is_an_error_in_one_line(tmp_path):
    code = (
        "import resource, sys; from shiftless.atomic import write_atomic, BadInput\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomic(sys.argv[1], bytes(100_000))\n"
        "except BadInput as error: print(error)\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.bin"], capture_output=True, text=True, check=True
    )
    assert completed.stdout.startswith(f"{tmp_path / 'a.bin'}: cannot be written (File too large); ")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)  # opens nothing: it would wait for a reader for ever
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"x" * 200_000)  # more than a pipe holds
    reader.join(10)
    assert got == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_devices_stay_devices(tmp_path):
    link = tmp_path / "out.json"
    link.symlink_to("/dev/full")
    for path in (Path("/dev/full"), link):
        check_writable(path)
        with pytest.raises(BadInput, match=f"{path}: cannot be written .*; free some space"):
            write_atomic(path, b"x")
        assert stat.S_ISCHR(os.stat(path).st_mode)
    assert link.is_symlink()
    check_writable(Path("/dev/null"))
    write_atomic("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not [name for name in os.listdir("/dev") if name.endswith(".part")]


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="this system has no /dev/stdout")
@pytest.mark.parametrize("to", ["pipe", "file"])
def test_standard_output_is_written_in_its_place(to, tmp_path):
    code = (
        "from pathlib import Path; from shiftless.atomic import check_writable, write_atomic\n"
        "check_writable(Path('/dev/stdout'))\n"
        "print('before'); write_atomic('/dev/stdout', b'{}\\n'); print('after')"
    )
    command = [sys.executable, "-c", code]
    if to == "pipe":
        message = subprocess.run(command, capture_output=True, check=True).stdout
    else:
        with open(tmp_path / "said", "wb") as handle:
            subprocess.run(command, stdout=handle, check=True)
        message = (tmp_path / "said").read_bytes()
        assert os.listdir(tmp_path) == ["said"]
    assert message.decode() == "before\n{}\nafter\n"


def test_what_may_not_be_written_is_refused_before_and_after(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root may write everything
    for act in (check_writable, lambda path: write_atomic(path, b"new")):
        with pytest.raises(BadInput, match=r"a\.txt: cannot be written \(Permission denied\); give a path in a folder"):
            act(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_names_and_places_that_cannot_be(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for name in ("folder", "file/inside.txt", "n" * 300, "a\0b", "\ud800"):
        with pytest.raises(BadInput, match=r"(cannot be written|is a folder)"):
            check_writable(tmp_path / name)
        with pytest.raises(BadInput, match="cannot be written"):
            write_atomic(tmp_path / name, b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_temporary_files_that_killed_processes_left_are_removed_after_an_hour(tmp_path):
    stale, fresh = (tmp_path / f".a.bin.{'0' * 11}{i}.part" for i in range(2))
    other = tmp_path / ".mine.part"  # no name that this module gives
    for file, age in ((stale, 3700), (fresh, 3000), (other, 3700)):
        file.write_bytes(b"half")
        os.utime(file, (time.time() - age,) * 2)
    check_writable(tmp_path / "a.bin")
    assert stale.exists()
    write_atomic(tmp_path / "a.bin", b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([fresh.name, other.name, "a.bin"])


def test_a_new_folder_may_be_checked_by_many_at_once(tmp_path):
    target, errors = tmp_path / "new" / "deep" / "a.txt", []

    def check():
        for _ in range(100):
            try:
                check_writable(target)
            except BadInput as error:
                errors.append(str(error))

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
