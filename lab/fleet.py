"""
Several guests that send to the peer at the same time, and what dom0 moves for each.

They all have the same file, on a RAM disk of dom0's that each of them has read-only, so
that the disks are equal and there is room for many. The network has jumbo frames (see
demo.py), and windows are wide: the emulated peer takes up to 30 ms to acknowledge, and no
scheduler gives a connection more than its window in that time. What is measured is what dom0's driver counts (charged_bytes_total), read by one
shell in dom0 that starts no other program.
"""

import time

from lab import ADDRESSES

SOURCE, DISK, FILE = "/dev/ram1", "/dev/xvdd", "/mnt/file"
DEVICES = "/sys/bus/xen-backend/devices"
PARAMETERS = "/sys/module/vpipe_back/parameters"
WINDOW = 16 << 20   # bytes: what a connection may have in flight, if its guest lets it
SAMPLE = 0.2    # seconds between two readings


class Fleet:
    """`number` guests, the lab's first among them, attached and with the file."""

    def __init__(self, lab, number, mebibytes=1400, mtu=9000):
        self.lab, self.dom0, self.peer = lab, lab.dom0, lab.peer
        self.port = 7000
        self.dom0.run(f"mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 {SOURCE} &&"
                      f"mkdir -p /mnt && mount {SOURCE} /mnt &&"
                      f"dd if=/dev/zero of={FILE} bs=1M count={mebibytes} 2>/dev/null;"
                      "umount /mnt", timeout=120)
        self.guests = lab.create_guests(number)
        self.names = [guest.name for guest in self.guests]
        self.domids = [int(self.dom0.run(f"xl domid {name}").out) for name in self.names]
        vifs = " ".join(f"vif{domid}.0" for domid in self.domids)
        self.peer.run(f"ip link set eth0 mtu {mtu};"
                      f"echo 4096 131072 {2 * WINDOW} >/proc/sys/net/ipv4/tcp_rmem")
        self.dom0.run(f"for link in {vifs} eth0 xenbr0; do ip link set $link mtu {mtu}; done;"
                      f"echo 4096 65536 {WINDOW} >/proc/sys/net/ipv4/tcp_wmem;"
                      "modprobe nf_tables; insmod /payload/vpipe-back.ko")
        for name, guest in zip(self.names, self.guests, strict=True):
            self.dom0.run(f"xl block-attach {name} {SOURCE},raw,xvdd,r", timeout=60)
            guest.run(f"ip link set eth0 mtu {mtu}; mkdir -p /mnt;"
                      f"until [ -b {DISK} ]; do usleep 20000; done; mount -o ro,noload {DISK} /mnt;"
                      f"[ -e /payload/vptest ] || payload guest {lab.payload.mebibytes};"
                      "insmod /payload/vpipe-front.ko", timeout=60)
            self.dom0.run(f"/payload/vpipectl attach {name}", timeout=60)
            self.window(guest, WINDOW)

    @staticmethod
    def window(guest, size):
        """What a connection of the guest's may have in flight: it may have to take it back."""
        guest.run(f"cd /proc/sys/net/ipv4 && echo 4096 65536 {size} >tcp_wmem &&"
                  f"echo 4096 131072 {size} >tcp_rmem")

    def weights(self, *weights):
        """Of the guests, from now on; returns when the driver has them."""
        for domid, weight in zip(self.domids, weights, strict=True):
            self.dom0.run(f"xenstore-write backend/vpipe/{domid}/0/weight {weight};"
                          f"until [ $(cat {DEVICES}/vpipe-{domid}-0/statistics/weight) ="
                          f" {weight} ]; do usleep 10000; done", timeout=20)

    def parameter(self, name, value):
        self.dom0.run(f"echo {value} >{PARAMETERS}/{name}")

    def stat(self, guest, name):
        return int(self.dom0.run(f"cat {DEVICES}/vpipe-{self.domids[guest]}-0/"
                                 f"statistics/{name}").out)

    def disk(self, guest, device, mebibytes=256):
        """A RAM disk of dom0's for what the guest writes, at /fs."""
        self.dom0.run(f"xl block-attach {self.names[guest]} {device},raw,xvde,w", timeout=60)
        self.guests[guest].run(
            "until [ -b /dev/xvde ]; do usleep 20000; done; mkdir -p /fs;"
            f"mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 /dev/xvde {mebibytes}M &&"
            "mount /dev/xvde /fs", timeout=60)

    def seconds(self, guest):
        """CPU time in dom0 so far, of the threads that execute commands, and that move data."""
        name = f"vpback/{self.domids[guest]}"
        out = self.dom0.run("for t in /proc/[0-9]*; do read n <$t/comm || continue; case $n in"
                            f" {name}-q*) read s <$t/schedstat && echo q $s;;"
                            f" {name}.*) read s <$t/schedstat && echo d $s;;"
                            " esac; done 2>/dev/null", timeout=30).out
        sums = {"q": 0, "d": 0}
        for line in out.splitlines():
            sums[line[0]] += int(line.split()[1]) / 1e9
        return sums["q"], sums["d"]

    def sink(self, workers):
        """A client that reads as fast as it can; its port."""
        self.port += 1
        job = self.peer.spawn(f"exec /payload/vpipe-sink --discard --workers {workers} {self.port}")
        job.wait_output('"listening"', timeout=20)
        return self.port

    def send(self, guest, port, connections=1, first="all"):
        """The file again and again, until stop(); and in between its `first` bytes."""
        return self.guests[guest].spawn(
            f"exec /payload/vptest run --trust 1 --connections {connections} --repeat 1000000 "
            f"{ADDRESSES['peer']} {port} {FILE} pipe:0:{first} pipe:0:all", stdin=None)

    def busy(self, guest, port):
        """
        Two connections, out of step: between one operation and the next of one guest there is
        nothing that dom0 could move for it, for a tenth of a second or so.
        """
        self.send(guest, port)
        self.send(guest, port, first=500000000)

    def pour(self):
        """A server that sends as fast as it can, to whoever connects; its port."""
        self.port += 1
        job = self.peer.spawn(f"exec /payload/vptest pour {self.port}")
        job.wait_output('"listening"', timeout=20)
        return self.port

    def stop(self, *guests):
        """Whatever they send ends; when dom0 has no more of it."""
        for guest in guests:
            self.guests[guest].run("killall -9 vptest", check=False)
        for guest in guests:
            self.dom0.run(f"until [ $(cat {DEVICES}/vpipe-{self.domids[guest]}-0/statistics/flows)"
                          " = 0 ]; do usleep 50000; done", timeout=30)

    def opened(self, guest, number):
        """Wait until dom0 has so many of its connections."""
        self.dom0.run(f"until [ $(cat {DEVICES}/vpipe-{self.domids[guest]}-0/statistics/flows)"
                      f" -ge {number} ]; do usleep 50000; done", timeout=60)

    def moving(self, *guests, timeout=20):
        """Wait until each of them moves something."""
        before = [self.stat(guest, "charged_bytes_total") for guest in guests]
        end = time.monotonic() + timeout
        while any(self.stat(guest, "charged_bytes_total") <= was
                  for guest, was in zip(guests, before, strict=True)):
            assert time.monotonic() < end, "nothing moves"


class Meter:
    """Samples until end(): then rates and shares of any stretch of time."""

    def __init__(self, fleet):
        self.fleet = fleet
        files = [f"{DEVICES}/vpipe-{domid}-0/statistics/charged_bytes_total"
                 for domid in fleet.domids]
        read = "; ".join(f"read -r n <{file}; all=\"$all $n\"" for file in files)
        script = ("rm -f /tmp/tick; mkfifo /tmp/tick; exec 9<>/tmp/tick; while :; do "
                  f"read -r all _ </proc/uptime; {read}; echo \"$all\"; "
                  f"read -t {SAMPLE} -u 9 _; done")
        fleet.dom0.write_file("/tmp/meter", script)
        self.job = fleet.dom0.spawn("exec bash /tmp/meter", stdin=None)
        self.job.wait_output(r"\n", timeout=20)

    def now(self):
        """Seconds by the meter's clock."""
        return float(self.fleet.dom0.run("cat /proc/uptime").out.split()[0])

    def end(self):
        self.job.kill()
        self.job.wait(timeout=20)
        lines = self.job.result().out.rpartition("\n")[0].splitlines()
        self.samples = [[float(word) for word in line.split()] for line in lines]
        return self

    def moved(self, at):
        """Bytes up to this moment, of each guest."""
        before, after = self.samples[0], self.samples[-1]
        for sample in self.samples:
            if sample[0] <= at:
                before = sample
            else:
                after = sample
                break
        part = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0
        part = min(max(part, 0), 1)
        return [x + part * (y - x) for x, y in zip(before[1:], after[1:], strict=True)]

    def rates(self, start, end):
        """MB/s of each."""
        return [(y - x) / 1e6 / (end - start)
                for x, y in zip(self.moved(start), self.moved(end), strict=True)]

    def shares(self, start, end):
        rates = self.rates(start, end)
        return [rate / sum(rates) for rate in rates]


def jain(shares, weights):
    """Jain's index of what each has for its weight: 1 when all have the same."""
    ratios = [share / weight for share, weight in zip(shares, weights, strict=True)]
    return sum(ratios) ** 2 / (len(ratios) * sum(ratio ** 2 for ratio in ratios))
