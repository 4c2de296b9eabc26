"""What a data set tells of itself: files that are left out, folders that are no classes, classes without images."""

import io
import os
import tarfile

import pytest
from disk import image_bytes, tar_bytes, write

from tinynet.data import DataError, open_dataset
from tinynet.data.caching.writer import write_cache
from tinynet.training.checkpoint import Checkpoint

IMAGE = image_bytes("x")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            write(tmp_path / split / name / "1.png", IMAGE)
    return tmp_path


def names(split):
    return [split.name(index).rsplit("/", 1)[1] for index in range(len(split))]


def test_a_whole_data_set_has_none(root):
    write(root / "train" / "labels.csv", "")
    write(root / "train" / "cat" / "Thumbs.db", "")
    write(root / "train" / "cat" / "notes.txt", "")
    write(root / "train" / "cat" / "@eaDir" / "1.png", IMAGE)
    assert open_dataset(root).notes == ()


def test_files_that_are_left_out_are_told_of_by_suffix(root):
    for name in ("a.webp", "b.WEBP", "c.heic", "d.bmp", "e.tif", "f.jfif", "g.jpe", "h"):
        write(root / "train" / "cat" / name, IMAGE)
    for name in ("more/i.jpg", "more/still/j.webp", "more/.hidden.jpg", "more/@eaDir/k.jpg"):
        write(root / "train" / "dog" / name, IMAGE)
    write(root / "val" / "loose.jpg", IMAGE)
    data = open_dataset(root)
    assert names(data.train) == ["1.png", "f.jfif", "g.jpe", "1.png"]
    assert data.notes == (
        f"{root / 'train'}: 6 files left out, no JPEG or PNG by name: "
        "2 .webp, 1 .bmp, 1 .heic, 1 .tif, 1 without a suffix",
        f"{root / 'train'}: 2 files left out, in folders inside the class folders: 1 .jpg, 1 .webp",
        f"{root / 'val'}: 1 file left out, beside the class folders: 1 .jpg",
    )


def test_folders_of_systems_are_no_classes(root):
    for name in ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "lost+found", "System Volume Information"):
        write(root / "train" / name / "1.jpg", IMAGE)
    data = open_dataset(root)
    assert data.classes == ("cat", "dog")
    (note,) = data.notes
    assert note.startswith(f"{root / 'train'}: #recycle, $RECYCLE.BIN, @eaDir, ") and "no class" in note


def test_a_class_of_other_files_says_which_they_are(root):
    write(root / "train" / "eel" / "a.webp", IMAGE)
    write(root / "train" / "eel" / "inside" / "b.jpg", IMAGE)
    message = r"1 of 3 classes have no image .*: eel; left out were 1 \.webp; in folders .*, lie 1 \.jpg"
    with pytest.raises(DataError, match=message):
        open_dataset(root)


def test_classes_without_validation_images(root):
    for name in ("ant", "bee"):
        write(root / "train" / name / "1.png", IMAGE)
    assert open_dataset(root).notes == (f"{root}: 2 of 4 classes have no validation image: ant, bee",)


def test_a_test_set_is_taken_for_want_of_another(root):
    (root / "val").rename(root / "test")
    data = open_dataset(root)
    assert len(data.val) == 2
    assert data.notes == (
        f"{root}: no validation images were found, so those of test/ are taken as the validation set",
    )
    write(root / "valid" / "cat" / "2.png", IMAGE)
    assert names(open_dataset(root).val) == ["2.png"]


def test_a_contests_test_set_is_none(root):
    (root / "val").rename(root / "elsewhere")
    write(root / "test" / "1.png", IMAGE)
    with pytest.raises(DataError, match="no validation images found"):
        open_dataset(root)


def test_members_of_archives_that_are_no_files_are_told_of(tmp_path):
    write(tmp_path / "train" / "cat" / "1.png", IMAGE)
    write(tmp_path / "val.txt", "a 0\n")
    file = io.BytesIO(tar_bytes({"a.png": IMAGE}))
    with tarfile.open(fileobj=file, mode="a") as archive:
        for name, kind in (("b.png", tarfile.SYMTYPE), ("c.png", tarfile.LNKTYPE), ("d.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            archive.addfile(member)
    path = write(tmp_path / "ILSVRC2012_img_val.tar", file.getvalue())
    assert open_dataset(tmp_path).notes == (
        f"{path}: 2 links left out, since links are not followed",
        f"{path}: 1 special file left out, such as devices",
    )


def test_files_in_archives_are_told_of_too(tmp_path):
    for number, name in enumerate(("n01440764", "n01443537")):
        files = {"1.jpg": IMAGE, "2.webp": IMAGE, "3.txt": b""} if number else {"1.jpeg": IMAGE}
        write(tmp_path / "train" / f"{name}.tar", tar_bytes(files))
        write(tmp_path / "val" / name / "1.png", IMAGE)
    assert open_dataset(tmp_path).notes == (
        f"{tmp_path / 'train'}: 1 file left out, no JPEG or PNG by name: 1 .webp",
    )


def test_links_are_not_followed_out_of_a_class(root):
    write(root / "elsewhere" / "1.jpg", IMAGE)
    (root / "train" / "cat" / "link").symlink_to(root / "elsewhere", target_is_directory=True)
    (root / "train" / "cat" / "round").symlink_to(root / "train", target_is_directory=True)
    assert open_dataset(root).notes == ()


def test_notes_and_errors_are_fit_for_a_terminal(root):
    name = "x\x1b[2J\nwarning: forged\u202e"
    write(root / "train" / name / "1.png", IMAGE)
    (note,) = open_dataset(root).notes
    assert note.endswith("no validation image: x\\x1b[2J\\nwarning: forged\\u202e")
    write(root / "train" / name / "2.png", b"no image")
    split = open_dataset(root).train
    assert split.name(3).endswith(f"{name}/2.png")  # as it is, to open it
    with pytest.raises(DataError) as caught:
        split.load(3, 8)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    assert "x\\x1b[2J\\nwarning: forged" in str(caught.value)


def test_preparing_a_cache_tells_them(root, tmp_path_factory):
    write(root / "train" / "cat" / "a.webp", IMAGE)
    lines = []
    out = tmp_path_factory.mktemp("out")
    write_cache(root, out, 8, workers=1, report=lines.append)
    assert lines[0] == f"warning: {root / 'train'}: 1 file left out, no JPEG or PNG by name: 1 .webp"
    assert open_dataset(out).notes == ()
    write(root / "train" / "cat" / "b.jfif", IMAGE)
    with pytest.raises(DataError, match=r"\(among them 1 \.jpe or \.jfif, which earlier versions left out\)$"):
        write_cache(root, out, 8, workers=1, report=lines.append)


def test_a_run_from_before_is_told_why_its_images_differ(root):
    before = open_dataset(root)
    settings = {"classes": list(before.classes), "data_set": before.fingerprint}
    checkpoint = Checkpoint({}, {}, None, settings, [], 0, 0, {}, root / "step")
    checkpoint.check_data(before)
    write(root / "train" / "cat" / "more.png", IMAGE)
    with pytest.raises(DataError, match=r"trained on other images than those of .*[^)]; --override goes on"):
        checkpoint.check_data(open_dataset(root))
    write(root / "train" / "cat" / "2.jfif", IMAGE)
    with pytest.raises(DataError, match=r"\(among them 1 \.jpe or \.jfif, which earlier versions left out\)"):
        checkpoint.check_data(open_dataset(root))


@pytest.mark.skipif(os.name == "nt", reason="all names are text there")
def test_names_that_are_not_utf_8(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for split in ("train", "val"):
        for name in (b"b\xe9e", b"\xff", "\uff21nt".encode()):
            try:
                write(root / split / os.fsdecode(name) / os.fsdecode(b"\xfe.png"), IMAGE)
            except OSError:
                pytest.skip("this file system takes no such names")
    data = open_dataset(root)
    assert [os.fsencode(name) for name in data.classes] == [b"b\xe9e", "\uff21nt".encode(), b"\xff"]
    assert data.train.load(0, 8).shape == (8, 8, 3) and len(data.fingerprint) == 64
    out = tmp_path / os.fsdecode(b"out\xe9")
    lines = []
    write_cache(root, out, 8, workers=1, report=lines.append)
    assert "out\\xe9 needs" in lines[0]
    cached = open_dataset(out)
    assert cached.classes == data.classes and cached.fingerprint == data.fingerprint
    assert cached.val.name(2) == data.val.name(2)
    write_cache(root, out, 8, workers=1, report=lines.append)
    assert lines[-1].endswith("out\\xe9 is complete: nothing to do")
    archives = tmp_path / os.fsdecode(b"tars\xe9")
    inner = {
        f"{name}.tar": tar_bytes({f"{name}/{os.fsdecode(bytes([254]))}.png": IMAGE}) for name in sorted(data.classes)
    }
    write(archives / "ILSVRC2012_img_train.tar", tar_bytes(inner))
    write(archives / "ILSVRC2012_img_val.tar", tar_bytes({os.fsdecode(b"\xfe.png"): IMAGE}))
    write(archives / "val.txt", os.fsencode("\udcfe.png \udcff\n"))
    tars = open_dataset(archives)
    assert tars.classes == data.classes and tars.val.labels.tolist() == [2]
