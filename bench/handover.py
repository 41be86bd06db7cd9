#!/usr/bin/python3
"""
What a hand-over costs: small transfers on one connection, with send() and recv() in between,
while the peer sends, at several round-trip times (netem), in one boot. The same conversation
with ordinary calls instead of transfers is beside it.

    time      from one answer of the peer to the next, in ms: the round's median, without a
              transfer and with one, both in turn on the same connection
    sent      segments that were sent again, by guest, shadow and peer
    dropped   frames that dom0 has dropped

Emulated: compare, do not quote. The figures are in docs/handover.md.
"""

import argparse
import json
import os
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOP / "lab"), str(TOP / "tests/system")]
import demo  # noqa: E402
from lab import Lab, LabError  # noqa: E402
from net import Counts, Talk, path  # noqa: E402
from rig import Rig  # noqa: E402

OUT = TOP / "out/handover.json"
SIZE, HEAD, ANSWER, MORE = 4096, 1000, 200, 500
# As many bytes of the peer arrive at any time as it takes to meet each hand-over.
BUSY = "--send all --pace 700:3000"


def kinds(count):
    """Name, steps of one round without and with a transfer, how often, the peer, options."""
    request = 2 * HEAD + SIZE
    yield ("request, answer", f"send:{HEAD} send:{SIZE} send:{HEAD} recv:{ANSWER} lap "
           f"send:{HEAD} pipe:{SIZE} send:{HEAD} recv:{ANSWER} lap", count,
           f"--answer {request}:{ANSWER}", "--nodelay 1")
    yield ("peer sends all the time", f"send:{HEAD} file:{SIZE} recv:{MORE} drain lap "
           f"send:{HEAD} pipe:{SIZE} recv:{MORE} drain lap", count, BUSY, "--nodelay 1")
    yield ("received to a file", f"send:{MORE} recv:{SIZE} send:{MORE} recv:{SIZE} lap "
           f"send:{MORE} pull:{SIZE} send:{MORE} recv:{SIZE} lap", count,
           f"--answer {MORE}:{SIZE}", "--nodelay 1 --scratch /mnt/scratch")


def measure(rig, file, delay, count):
    """Of each kind of conversation, a row."""
    for name, steps, repeat, peer, options in kinds(count):
        with path(rig, delay):
            counts = Counts(rig)
            result = Talk(rig, file, steps, repeat, peer, options=options).result(timeout=300)
            counts.end()
        grown = counts.grown
        once, again = result.times["lap"], result.times["lap#2"]
        transfer = next(line for step, line in result.times.items()
                        if step.startswith(("pipe", "pull")))
        yield {"conversation": name, "rtt_ms": delay, "hand_overs": counts.hand_overs(),
               "ordinary_ms": once["median"] / 1000, "vpipe_ms": again["median"] / 1000,
               "vpipe_p90_ms": again["p90"] / 1000, "call_ms": transfer["median"] / 1000,
               "again_guest": result.streams[0]["retrans"],
               "again_shadow": grown["dom0"]["retransmits_total"],
               "again_peer": result.peers[0]["retrans"],
               "dropped": grown["dom0"]["frames_dropped_total"]}


def in_a_row(rig, file, delay, count):
    """Nothing in between: as many transfers, and how many hand-overs they took."""
    with path(rig, delay):
        counts = Counts(rig)
        result = Talk(rig, file, f"pipe:{SIZE} lap", count, options="--nodelay 1").result()
        counts.end()
    return {"conversation": "transfers in a row", "rtt_ms": delay,
            "hand_overs": counts.hand_overs(), "ordinary_ms": None,
            "vpipe_ms": result.times["lap"]["median"] / 1000,
            "vpipe_p90_ms": result.times["lap"]["p90"] / 1000,
            "call_ms": result.times[f"pipe:{SIZE}"]["median"] / 1000,
            "again_guest": result.streams[0]["retrans"],
            "again_shadow": counts.grown["dom0"]["retransmits_total"],
            "again_peer": result.peers[0]["retrans"],
            "dropped": counts.grown["dom0"]["frames_dropped_total"]}


def capture(rig, file, delay):
    """
    One hand-over and return while the peer sends: what tcpdump sees in dom0, where a frame of
    the guest comes in on the vif, one of the shadow too, and those for the shadow do not go out.
    """
    with path(rig, delay):
        talk = Talk(rig, file, f"send:{HEAD} recv:{MORE} wait pipe:{SIZE} recv:{MORE} send:{HEAD}",
                    peer=BUSY)
        talk.guest.wait_output('"wait"', timeout=20)
        watch = rig.dom0.spawn("exec tcpdump -Z root -i any -n -l -S -ttttt 'tcp and host 198.18.0.10"
                               " and host 198.18.0.2'")
        watch.wait_output("listening on", timeout=20)
        talk.guest.write(b"go\n")
        talk.result()
        rig.dom0.run("killall -INT tcpdump", check=False)
        return watch.wait(timeout=20).out


def table(rows):
    """As docs/handover.md has it."""
    lines = ["", "| conversation | RTT | hand-overs | ordinary | with vPipe | (9 of 10) | the call "
             "| sent again: guest, dom0, peer | dropped |", "|" + "---|" * 9]
    for row in rows:
        ordinary = "" if row["ordinary_ms"] is None else f"{row['ordinary_ms']:.1f} ms"
        lines.append(
            f"| {row['conversation']} | {row['rtt_ms']} ms | {row['hand_overs']} | {ordinary} "
            f"| {row['vpipe_ms']:.1f} ms | {row['vpipe_p90_ms']:.1f} ms | {row['call_ms']:.1f} ms "
            f"| {row['again_guest']}, {row['again_shadow']}, {row['again_peer']} "
            f"| {row['dropped']} |")
    return "\n".join([*lines, ""])


def main():
    parser = argparse.ArgumentParser(description="What a hand-over costs")
    parser.add_argument("--count", type=int, default=200, help="rounds of each kind (200)")
    parser.add_argument("--rtt", type=int, nargs="*", default=[0, 20], help="in ms (0 20)")
    parser.add_argument("--capture", action="store_true",
                        help="no figures: show the frames of one hand-over")
    args = parser.parse_args()
    rows = []
    try:
        with Lab() as lab:
            rig = Rig(lab)
            file = rig.read_only(8 << 20)
            if args.capture:
                print(capture(rig, file, args.rtt[-1]))
                return 0
            for delay in args.rtt:
                for row in (*measure(rig, file, delay, args.count),
                            in_a_row(rig, file, delay, args.count)):
                    demo.say(f"{row['conversation']}, {delay} ms: {row['vpipe_ms']:.1f} ms")
                    rows.append(row)
            bad = lab.check_logs()
    except (AssertionError, LabError) as error:
        return f"bench: FAILED: {error}"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))
    for line in bad:
        print(f"bench: FAILED: {line}", file=sys.stderr)
    print(f"{os.path.relpath(OUT)} has the numbers")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
