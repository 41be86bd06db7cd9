"""What a filesystem does not allow: the errno of write(2), and the count of what is there."""

import errno
import os

import pytest

from pipes import FILESYSTEMS, MIB, SPARE, both, check, copy, make, take, wait_spare

pytestmark = pytest.mark.long

SIZE = 25 * MIB


def into_files(rig, **how):
    """SIZE bytes from a socket and from a file, each into a file of its own."""
    for file in "/fs/taken", "/fs/copied":
        rig.guest.run(f": >{file}; chmod 666 {file}")
    there = rig.fill("there", SIZE)
    yield "/fs/taken", take(rig, "/fs/taken", 0, SIZE, **how)
    yield "/fs/copied", copy(rig, there, "/fs/copied", SIZE, **how)
    rig.guest.run(f"rm {there}")


@pytest.mark.parametrize("kind,mkfs", [
    ("ext4", "mkfs.ext4 -q -F -O quota"), ("xfs", "mkfs.xfs -q -f")], ids=["ext4", "xfs"])
def test_quota(rig, kind, mkfs):
    """Of the user who asked for it: to the last byte, and the rest is still unread."""
    for fs in make(rig, kind, f"{mkfs} {SPARE}", options="-o usrquota"):
        fs.guest.run("xfs_quota -x -f -c 'limit bhard=18m 1000' /fs")
        for file, done in into_files(fs, before="chown 1000 /fs/taken /fs/copied;"
                                     "setpriv --reuid=1000 --clear-groups"):
            assert (done["moved"], done["errno"]) == (18 * MIB, errno.EDQUOT)
            assert done["offloaded"] > 0 and done["rest"] == (SIZE - 18 * MIB) * (file == "/fs/taken")
            assert check(fs, file, 0, 18 * MIB) == 18 * MIB
            fs.guest.run(f"rm {file}")


@both
def test_size_limit_of_a_copy(fs):
    """And of one that begins behind it."""
    there = fs.fill("there", SIZE)
    limit = "trap '' XFSZ; ulimit -f 4096;"     # in units of 512
    copied = copy(fs, there, "/fs/copied", SIZE, before=limit)
    assert (copied["moved"], copied["errno"]) == (2 * MIB, errno.EFBIG) and copied["offloaded"] == 2 * MIB
    assert check(fs, "/fs/copied", 0, 2 * MIB) == 2 * MIB
    copied = copy(fs, there, "/fs/copied", MIB, to=2 * MIB, before=limit)
    assert (copied["moved"], copied["errno"], copied["offloaded"]) == (-1, errno.EFBIG, 0)
    fs.guest.run(f"rm {there}")


@pytest.mark.parametrize("filesystem,stop", [
    (("ext4", f"mkfs.ext4 -q -F -e remount-ro {SPARE}"),
     "echo 1 >/sys/fs/ext4/xvdd/trigger_fs_error"),
    (FILESYSTEMS[1], "xfs_io -x -c shutdown /fs")], ids=["ext4", "xfs"])
def test_stopped_filesystem(rig, filesystem, stop):
    """The file is open, and then the filesystem stops itself after an error."""
    again = f"umount /fs && mount {SPARE} /fs"
    for fs in make(rig, *filesystem):
        said = fs.guest.run(f"{{ {stop}; cat /etc/passwd; }} >/fs/plain; {again}").err
        for file, done in into_files(fs, how=f"'then:{stop}'"):
            assert done["moved"] == -1 and os.strerror(done["errno"]) in said
            assert done["offloaded"] == 0 and done["rest"] == SIZE * (file == "/fs/taken")
            fs.guest.run(again)
            assert fs.guest.run(f"stat -c %s {file}").out == "0\n"


@both
def test_read_only(fs):
    """A source, and no more: a filesystem mounted so, on a disk that the guest may not write."""
    size = 5 * MIB + 5
    file = fs.fill("/fs/file", size)
    fs.guest.run(f"umount /fs && mount -o ro {SPARE} /fs")
    assert fs.send(file, "pipe:0:all")[0]["offloaded"] == size
    fs.guest.run("umount /fs")
    fs.dom0.run("xl block-detach guest xvdd && xl block-attach guest /dev/ram2,raw,xvdd,r",
                timeout=60)
    wait_spare(fs)
    fs.guest.run(f"mount -o ro {SPARE} /fs")
    assert fs.send(file, "pipe:0:all")[0]["offloaded"] == size
    assert copy(fs, file, "/mnt/copied", size)["offloaded"] == size // 4096 * 4096
    assert check(fs, "/mnt/copied", 0, size) == size
    out = fs.guest.run(f"/payload/vptest copy /mnt/copied {file} 0 {size} 0", check=False)
    assert out.rc and "Read-only file system" in out.err
    fs.guest.run("umount /fs; rm /mnt/copied")
    fs.dom0.run("xl block-detach guest xvdd && xl block-attach guest /dev/ram2,raw,xvdd,w",
                timeout=60)
    wait_spare(fs)
    fs.guest.run(f"mount {SPARE} /fs")
