"""
The stage: the lab with all in its warm snapshot that the benchmarks need, so that each
restore begins with the same.

    guest     attached, both modules loaded; SOURCE (xvdc) at /mnt, read-only, SINK (xvdd)
              at /fs
    guest2..  on the guest's CPU, idle: burn() makes them busy, by vpload
    dom0      SOURCE, the same RAM disk, at /mnt, read-only; a SINK of its own at /fs
    peer      /tmp/stream, in memory

A sink may not be written by dom0 and the guest in turn, so they are two disks of the same
kind. All their pages are there from the beginning: to make one takes a write longer. /mnt has
`file` of the first size given, and `file-N` of N MiB for each other size, for 0 and for
warm_up, /fs has `source-N`, all of zeros that are really there.
"""

import contextlib
import hashlib
import pathlib

import disk
from agent import Host
from disk import MKFS
from lab import ADDRESSES, TOP, Lab

SOURCE, SINK, NATIVE_SINK = "/dev/ram0", "/dev/ram1", "/dev/ram2"
BURNERS = 3
STREAM_MIB = 16
SOURCE_MIB = 64     # of a file at /fs
SPARE_MIB = 256     # of a sink, beside the largest file
MODULES = ("guest/vpipe-front.ko", "dom0/vpipe-back.ko")
# warm_up: MiB of a transfer that is not measured. Less does not do for the emulator, which
# translates what runs often.
REAL = {"sizes": (1024, 64, 256), "warm_up": 64, "dom0_memory": 6144, "memory": 8192}
VIRTUAL = {"sizes": (256, 16, 64), "warm_up": 1, "dom0_memory": 2560, "memory": 4096}


class Stage(Lab):
    """
    virtual: in virtual time, with smaller files; emulated_disk: the machine's own beside the
    RAM disks; burners: how many guests there are to be busy. Otherwise as Lab.
    """

    def __init__(self, virtual=False, emulated_disk=False, burners=BURNERS, **lab):
        self.emulated_disk = emulated_disk
        self.others = range(2, 2 + burners)     # in the guests' names
        config = {**(VIRTUAL if virtual else REAL), **lab}
        self.sizes, self.warm_up = config.pop("sizes"), config.pop("warm_up")
        super().__init__(virtual=virtual, timeout=7200, **config)

    def set_mtu(self, mtu):
        """Of the whole path; in virtual time segments never become frames."""
        if self.virtual:
            return
        vifs = " ".join(f"vif{n}.0" for n in range(1, 1 + len(self.attached)))
        for host, links in ((self.peer, "eth0"), (self.dom0, f"eth0 {vifs} xenbr0"),
                            *((guest, "eth0") for guest in self.attached)):
            host.run(f"for link in {links}; do ip link set $link mtu {mtu} || exit 1; done")

    @contextlib.contextmanager
    def burning(self, number, percent=100):
        """
        So many of the other guests want that much of the CPU. At the end they are told to
        stop; a restore stops them for sure.
        """
        jobs = []
        for guest in self.burners[:number]:
            jobs.append(guest.spawn(f"exec /tmp/vpload {percent}", stdin=None))
            jobs[-1].wait_output("burning", 60)
        yield
        for job in jobs:
            job.kill()

    def attach_burners(self, number):
        """So many of the other guests have the source at /mnt, and vPipe, as the first has."""
        for guest in self.burners[:number]:
            guest.run(f"payload guest {self.payload.mebibytes} && mkdir -p /mnt &&"
                      " mount -o ro,noload /dev/xvdc /mnt && insmod /payload/vpipe-front.ko",
                      timeout=120)
            self.dom0.run(f"/payload/vpipectl attach {guest.name}", timeout=60)
            self.attached.append(guest)

    def file(self, mebibytes):
        """A file of just so many."""
        return "/mnt/file" if mebibytes == self.sizes[0] else f"/mnt/file-{mebibytes}"

    def source(self, mebibytes):
        """One on the disk that is written to."""
        return f"/fs/source-{mebibytes}"

    # Inside

    def restore(self):
        super().restore()
        self.attached = [self.guest]    # the domains 1 and so on
        self.burners = [self._small(number) for number in self.others]
        if self.emulated_disk:
            disk.prepare(self)

    def _small(self, number):
        name = f"guest{number}"
        return Host(name, self.main.agent, via=ADDRESSES[name])

    def _bring_up(self):
        super()._bring_up()
        self._unpack()
        self.create_guests(1 + len(self.others))
        for number in self.others:
            self._small(number).run(f"payload guest {self.payload.mebibytes} &&"
                                    " cp /payload/vpload /tmp", timeout=120)
        self._make_disks()
        self.guest.run("insmod /payload/vpipe-front.ko")
        self.dom0.run("modprobe nf_tables; insmod /payload/vpipe-back.ko;"
                      "/payload/vpipectl attach guest", timeout=60)
        self.peer.run(f"dd if=/dev/zero of=/tmp/stream bs=1M count={STREAM_MIB} 2>/dev/null")
        for host in (self.guest, self.dom0):
            host.run("sync; echo 3 >/proc/sys/vm/drop_caches", timeout=120)

    def _make_disks(self):
        fill = "".join(f"dd if=/dev/zero of={self.file(size)} bs=1M count={size} 2>/dev/null"
                       " || exit 1;" for size in sorted({*self.sizes, self.warm_up, 0}))
        source = " && ".join(f"dd if=/dev/zero of={self.source(size)} bs=1M count={size} 2>/dev/null"
                             for size in sorted({SOURCE_MIB, self.warm_up}))
        size = max(self.sizes) + SPARE_MIB
        sinks = "".join(f"dd if=/dev/zero of={disk} bs=1M count={size} 2>/dev/null &&"
                        f"{MKFS},nodiscard {disk} {size}M || exit 1;"
                        for disk in (SINK, NATIVE_SINK))
        self.dom0.run(f"{MKFS} {SOURCE} && mkdir -p /mnt /fs && mount {SOURCE} /mnt || exit 1;"
                      f"{fill} umount /mnt && mount -o ro,noload {SOURCE} /mnt || exit 1; {sinks}"
                      f"mount {NATIVE_SINK} /fs && {source} &&"
                      f"xl block-attach guest {SINK},raw,xvdd,w", timeout=600)
        self.guest.run("until [ -b /dev/xvdd ]; do usleep 20000; done; mkdir -p /mnt /fs &&"
                       f"mount -o ro,noload /dev/xvdc /mnt && mount /dev/xvdd /fs && {source}",
                       timeout=120)

    def _key(self):
        what = [super()._key(), str(self.sizes), str(self.others), pathlib.Path(__file__).read_text(),
                *((TOP / "build/payload" / name).read_bytes() for name in MODULES)]
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
