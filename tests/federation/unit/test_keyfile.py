"""Key files: private, durable, never overwritten."""

import stat

import pytest

from federation.format.keyfile import KeyFileError, create, load, save
from federation.format.signing import Signer

SEED = bytes(range(32))


def test_a_key_comes_back(tmp_path):
    path = tmp_path / "root.key"
    signer = save(path, SEED)
    assert signer.public == load(path).public == Signer(SEED).public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 44


def test_created_keys_differ(tmp_path):
    one, other = create(tmp_path / "a.key"), create(tmp_path / "b.key")
    assert one.public != other.public
    assert load(tmp_path / "a.key").seed == one.seed


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "root.key"
    create(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        create(path)
    assert path.read_bytes() == before


def test_nor_through_a_link(tmp_path):
    (tmp_path / "link.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        create(tmp_path / "link.key")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(KeyFileError, match="cannot be written: No such file"):
        create(tmp_path / "no" / "root.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_not_used(tmp_path, mode):
    path = tmp_path / "root.key"
    save(path, SEED)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load(path)


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"A" * 42, b"A" * 44, b"A" * 42 + b"B\n", b"\xff" * 43]
)
def test_what_is_no_key_is_not_shown(tmp_path, text):
    path = tmp_path / "root.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="43 characters") as error:
        load(path)
    assert "AAAA" not in str(error.value)


def test_a_key_that_is_not_there(tmp_path):
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        load(tmp_path / "root.key")
