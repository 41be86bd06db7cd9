"""
What is compared: a pipe, a way to move its bytes, and what is different otherwise.

The ways are those of the example programs in tools/. The native one is the fastest
ordinary way in dom0, on a disk of the same kind and on the same network: the limit.
"""

from collections import namedtuple

from disk import ROOT
from lab import ADDRESSES
from stage import STREAM_MIB

PIPES = {"file_to_socket": "file → socket", "socket_to_file": "socket → file",
         "socket_to_socket": "socket → socket", "file_to_file": "file → file",
         "within_disk": "file → file on one disk"}
Way = namedtuple("Way", "name host options")

OFFLOAD = "--path offload"
READ_64K, READ_1M = "--call read --buffer 65536", "--call read --buffer 1048576"
# Between two disks there is no copy_file_range().
WAYS = {
    "file_to_socket": (
        Way("read 64 KiB", "guest", READ_64K), Way("read 1 MiB", "guest", READ_1M),
        Way("sendfile", "guest", "--call sendfile"), Way("splice", "guest", "--call splice"),
        Way("vpipe", "guest", OFFLOAD), Way("native", "dom0", "--call sendfile")),
    "socket_to_file": (
        Way("read 64 KiB", "guest", READ_64K), Way("read 1 MiB", "guest", READ_1M),
        Way("splice", "guest", "--call splice"),
        Way("vpipe", "guest", OFFLOAD), Way("native", "dom0", READ_64K)),
    "socket_to_socket": (
        Way("read 64 KiB", "guest", READ_64K), Way("read 1 MiB", "guest", READ_1M),
        Way("splice", "guest", "--call splice"),
        Way("vpipe", "guest", OFFLOAD), Way("native", "dom0", "--call splice")),
    "file_to_file": (
        Way("read 64 KiB", "guest", READ_64K), Way("read 1 MiB", "guest", READ_1M),
        Way("sendfile", "guest", "--call sendfile"), Way("splice", "guest", "--call splice"),
        Way("vpipe", "guest", ""), Way("native", "dom0", "--call sendfile")),
    "within_disk": (
        Way("read 64 KiB", "guest", READ_64K),
        Way("copy_file_range", "guest", "--call copy_file_range"),
        Way("vpipe", "guest", ""), Way("native", "dom0", "--call copy_file_range")),
}
# What the paper's programs did without vPipe, as near as it says.
ORDINARY = {"file_to_socket": "sendfile", "socket_to_file": "read 64 KiB",
            "socket_to_socket": "read 64 KiB", "file_to_file": "read 64 KiB",
            "within_disk": "read 64 KiB"}
# The emulated client is slower than dom0 with ordinary frames, and dom0's emulated
# card receives no others.
MTU = {"file_to_socket": 9000, "socket_to_file": 1500, "socket_to_socket": 1500,
       "file_to_file": 1500, "within_disk": 1500}

# cache: "cold" (the caches are dropped), "warm" (the same transfer came before)
# sync: when what goes to a disk has to be there: at the "end", or after "each write" (O_SYNC)
# disk: of dom0's "RAM", or the machine's own, "emulated" (disk.py)
Case = namedtuple("Case", "pipe way burners mebibytes cache sync disk",
                  defaults=("cold", "end", "RAM"))
ROOTS = {"RAM": "", "emulated": ROOT}
SYNC = {"end": "--sync", "each write": "--osync"}


def way(pipe, name):
    return next(way for way in WAYS[pipe] if way.name == name)


def is_server(pipe):
    """Does the peer begin?"""
    return pipe in ("socket_to_file", "socket_to_socket")


def has_sink(pipe):
    """Does the peer receive?"""
    return pipe in ("file_to_socket", "socket_to_socket")


def sink_command(port, connections=1):
    """Of the peer's: it takes what comes and looks at nothing."""
    return f"exec /payload/vpipe-sink --discard --count {connections} {port}"


def source_command(host, port, mebibytes):
    """Of the peer's."""
    size, repeat = min(mebibytes, STREAM_MIB), max(1, mebibytes // STREAM_MIB)
    return (f"/payload/vpipe-send --call sendfile --length {size << 20} --repeat {repeat} "
            f"/tmp/stream {ADDRESSES[host]} {port}")


def command(stage, case, port, sink_port):
    """Of the program that is measured."""
    options, root = way(case.pipe, case.way).options, ROOTS[case.disk]
    if case.pipe == "file_to_socket":
        return (f"/payload/vpipe-send {options} --length {case.mebibytes << 20} "
                f"{root}{stage.file(stage.sizes[0])} {ADDRESSES['peer']} {sink_port}")
    if case.pipe == "socket_to_file":
        return f"/payload/vpipe-recv {SYNC[case.sync]} {options} {port} {root}/fs/out"
    if case.pipe == "socket_to_socket":
        return f"/payload/vpipe-relay {options} {port} {ADDRESSES['peer']} {sink_port}"
    source = stage.source if case.pipe == "within_disk" else stage.file
    return f"/payload/vpipe-cp --sync --json {options} {root}{source(case.mebibytes)} {root}/fs/out"
