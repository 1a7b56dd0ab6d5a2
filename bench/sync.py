"""sync: how long it takes to store runs and to bring them back, beside clients that prove nothing."""

import filecmp
import json
import random
import shutil
import uuid
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from harness import MIB, Failed, Goal, Refused, median, need, number, rounds, spread
from object_store import BUCKET, Server, need_server
from truth.install import Missing, debian, python

PROGRAMS = ["cp", "curl", "openssl", "setpriv"]
OURS, S5CMD, RCLONE, AWS, CURL = "run-sync", "s5cmd", "rclone, 16 transfers", "aws s3 sync", "curl, unsigned"
RSYNC, CP, SYNCED, HASHED = "rsync -a", "cp -a", "cp -a, sync -f", "curl, and two SHA-256"
UP, AGAIN, DOWN = "up", "again", "down"
WORKLOADS = MIXED, CHECKPOINT, DIRECTORY, ONE_MORE, LINEAR = "mixed", "checkpoint", "directory", "one-more", "linear"
GIB = 1 << 30


@dataclass(frozen=True)
class Shape:
    """The files of a run: small ones of 4 to 64 KiB, and large ones."""

    small: int
    large: tuple  # sizes in bytes

    @property
    def files(self):
        return self.small + len(self.large)


@dataclass(frozen=True)
class Peer:
    """A client: its commands by what is done. `up` and `again` get the run and a URL or directory, `down` that and a
    directory."""

    name: str
    ways: dict


def make_run(lab, shape):
    """Makes a run with files that no client can compress, and returns its path."""
    cwd = lab.fresh("source")
    run = cwd / lab.output([lab.binaries / "run-new", "-d", "runs", "-n", "bench", "--", "true"], cwd).strip()
    chance = random.Random(1)
    for at in range(shape.small):
        path = run / f"samples/{at // 100:04}/sample_{at:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(4 << 10, 64 << 10)))
    for at, size in enumerate(shape.large):
        write_large(run / f"checkpoints/step_{at + 1}/model.bin", size, chance)
    return run


def write_large(path, size, chance):
    """Writes a file of random bytes, a block at a time."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for at in range(0, size, 16 * MIB):
            file.write(chance.randbytes(min(16 * MIB, size - at)))


def contents(run):
    """Returns the files that were made, with their paths in the run."""
    return [path.relative_to(run) for name in ("samples", "checkpoints") for path in sorted((run / name).rglob("*"))
            if path.is_file()]


def check(name, run, back):
    """Compares what came back with what was stored, byte by byte."""
    for path in contents(run):
        if not (back / path).is_file() or not filecmp.cmp(run / path, back / path, shallow=False):
            raise Failed(f"{name}: '{path}' did not come back as it was")


def forget(run):
    """Removes the receipts of a run, which would speak of a store that is gone."""
    for name in ("backup.jsonl", "backup.journal"):
        (run / ".run" / name).unlink(missing_ok=True)


def ours(lab):
    """Returns our tool as a peer, for object stores and directories."""
    tool = lab.binaries / "run-sync"
    backup = lambda run, to: (tool, "backup", "--to", to, run)  # noqa: E731
    return Peer(OURS, {UP: backup, AGAIN: backup,
                       DOWN: lambda run, to, back: (tool, "restore", "--from", to, "--into", back, run.name)})


def remote(to):
    """Returns the name by which rclone knows a URL of the store."""
    return to.replace("s3://", "store:")


def clients(lab):
    """Returns what there is to compare with on an object store, and notes on it."""
    peers, notes = [ours(lab)], []
    try:
        programs, _ = python("s5cmd")
        s5cmd = programs / "s5cmd"
        peers.append(Peer(S5CMD, {UP: lambda run, to: (s5cmd, "cp", f"{run}/", f"{to}/"),
                                  AGAIN: lambda run, to: (s5cmd, "sync", f"{run}/", f"{to}/"),
                                  DOWN: lambda run, to, back: (s5cmd, "cp", f"{to}/*", f"{back}/")}))
        version = lab.output([s5cmd, "version"], lab.root).partition("-")[0]  # that of the package is another
        notes.append(f"s5cmd {version}.")
    except Missing as error:
        notes.append(f"s5cmd could not be installed, and no goal beside it could be judged: {error}.")
    try:
        rclone, version = debian("rclone", "rclone")
        copy = (rclone, "copy", "--transfers", "16", "--checkers", "16")
        store = lambda run, to: (*copy, run, remote(to))  # noqa: E731
        peers.append(Peer(RCLONE, {UP: store, AGAIN: store, DOWN: lambda run, to, back: (*copy, remote(to), back)}))
        notes.append(f"rclone {version}.")
    except Missing as error:
        notes.append(f"rclone could not be installed: {error}.")
    try:
        programs, version = python("awscli")
        # SeaweedFS leaves a part unanswered now and then; awscli waits a minute for that unless it is told otherwise.
        sync = (programs / "aws", "s3", "sync", "--only-show-errors", "--cli-read-timeout", "5")
        store = lambda run, to: (*sync, run, to)  # noqa: E731
        peers.append(Peer(AWS, {UP: store, AGAIN: store, DOWN: lambda run, to, back: (*sync, to, back)}))
        notes.append(f"awscli {version}. In most of its uploads SeaweedFS leaves a request unanswered, which awscli sends "
                     "again after 5 s: these are in its figures.")
    except Missing as error:
        notes.append(f"awscli could not be installed: {error}.")
    peers += [Peer(CURL, {UP: curl_up, DOWN: curl_down}), Peer(HASHED, {UP: hashed_up})]
    return peers, notes


def curl_up(run, to):
    """Returns a command line that puts every file as it is, 16 at a time: what the server can do at best."""
    return curl(run, to, lambda path, url: f'upload-file = "{run / path}"\nurl = "{url}"')


def hashed_up(run, to):
    """Returns a command line that also hashes every file twice, as a store of files and of their parts needs it."""
    script = 'hash() { find "$0" -type f -exec openssl dgst -sha256 {} + >/dev/null; }; hash & hash & "$@" && wait'
    return ("sh", "-c", script, run, *curl_up(run, to))


def curl_down(run, to, back):
    """Returns a command line that gets every file, 16 at a time."""
    return curl(run, to, lambda path, url: f'url = "{url}"\noutput = "{back / path}"')


def curl(run, to, lines):
    """Writes a configuration of curl with two lines a file; `measured` puts the address of the server before the paths."""
    text = "\n".join(lines(path, f"ADDRESS/{to.removeprefix('s3://')}/{path}") for path in contents(run))
    return ("curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "16", "--create-dirs", "-K", text)


def measured(lab, peers, shape, ways, repeat, workload, raw, quick):
    """Times every peer in each round against a server without objects, and returns the timings by name and way. With
    `quick`, one server is for all."""
    run = make_run(lab, shape)
    timings = {(peer.name, way): [] for peer in peers for way in ways if way in peer.ways}
    with ExitStack() as kept:
        shared = kept.enter_context(Server(lab)) if quick else None
        for turn, peer in rounds(peers, repeat, f"sync, {workload}"):
            with ExitStack() as own:
                server = shared or own.enter_context(Server(lab))
                to, back = f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}", lab.fresh("back")
                forget(run)
                for way in (way for way in ways if way in peer.ways):
                    words = peer.ways[way](run, to, *([back] if way == DOWN else []))
                    timing = lab.time(f"{peer.name}, {way}", command(words, server, back), back)
                    if turn > 0:
                        timings[peer.name, way].append(timing)
                        raw.append({"workload": workload, "peer": peer.name, "way": way, "round": turn, **asdict(timing)})
                if turn == 0 and DOWN in peer.ways:
                    check(peer.name, run, back / run.name if peer.name == OURS else back)
                lab.discard(back)
    lab.discard(run.parents[1])
    return timings


def command(words, server, cwd):
    """Returns a command line with the environment that leads to a server."""
    words = list(map(str, words))
    if "curl" in words:
        (cwd / "curl.conf").write_text(words.pop().replace("ADDRESS", server.address))
        words.append(str(cwd / "curl.conf"))
    return ["env", *server.variables(), *words]


def directories(lab, shape, repeat, raw):
    """Times what stores to a directory, and returns the timings by name and way."""
    run = make_run(lab, shape)
    peers, notes = [ours(lab)], []
    for name, program, options in ((RCLONE, "rclone", ("copy", "--transfers", "16", "--checkers", "16")),
                                   (RSYNC, "rsync", ("-a",))):
        try:
            path, version = debian(program, program)
            copy = lambda run, to, words=(path, *options): (*words, f"{run}/", f"{to}/")  # noqa: E731
            peers.append(Peer(name, {UP: copy, AGAIN: copy}))
            notes += [f"rsync {version}."] if program == "rsync" else []
        except Missing as error:
            notes.append(f"{program} could not be installed: {error}.")
    peers.append(Peer(CP, {UP: lambda run, to: ("cp", "-a", run, to)}))
    synced = 'cp -a "$0" "$1" && sync -f "$1"'  # the least that survives a power cut, as a backup does
    peers.append(Peer(SYNCED, {UP: lambda run, to: ("sh", "-c", synced, run, to)}))
    timings = {(peer.name, way): [] for peer in peers for way in (UP, AGAIN) if way in peer.ways}
    for turn, peer in rounds(peers, repeat, "sync, directory"):
        store = lab.fresh("store")
        forget(run)
        for way in (way for way in (UP, AGAIN) if way in peer.ways):
            words = ["env", "RCLONE_CONFIG=/dev/null", *map(str, peer.ways[way](run, store))]
            timing = lab.time(f"{peer.name}, {way}", words, store)
            if turn > 0:
                timings[peer.name, way].append(timing)
                raw.append({"workload": "directory", "peer": peer.name, "way": way, "round": turn, **asdict(timing)})
        lab.discard(store)
    lab.discard(run.parents[1])
    return timings, notes


def one_more(lab, size):
    """Returns how many bytes a backup sends after one more checkpoint, beside those of the checkpoint."""
    run, store = make_run(lab, Shape(50, (size, size))), lab.fresh("store")
    backup = [lab.binaries / "run-sync", "backup", "--json", "--to", store, run]
    lab.output(backup, store)
    write_large(run / "checkpoints/step_3/model.bin", size, random.Random(2))
    sent = json.loads(lab.output(backup, store))
    lab.discard(store)
    lab.discard(run.parents[1])
    return sent["sent_files"], sent["sent_bytes"] / size


def linear(lab, counts, repeat, raw):
    """Times backups of a few and of many small files to a directory; returns the timings by count and way."""
    timings = {}
    for count in counts:
        cwd = lab.fresh("many")
        run = cwd / lab.output([lab.binaries / "run-new", "-d", "runs", "-n", "bench", "--", "true"], cwd).strip()
        for at in range(count):
            path = run / f"samples/{at // 1000:04}/sample_{at:06}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(at.to_bytes(8, "big") * 128)
        for turn, _ in rounds([OURS], repeat, f"sync, {count:,} files"):
            store = lab.fresh("store")
            forget(run)
            for way in (UP, AGAIN):
                words = list(map(str, ours(lab).ways[way](run, store)))
                timing = lab.time(f"{OURS}, {count} files, {way}", words, store)
                if turn > 0:
                    timings.setdefault((count, way), []).append(timing)
                    raw.append({"workload": "linear", "peer": OURS, "files": count, "way": way, "round": turn, **asdict(timing)})
            lab.discard(store)
        lab.discard(cwd)
    return timings


def wall(timings, key):
    """Returns a median wall time."""
    return median(timing.wall_s for timing in timings[key])


def cpu(timings, key):
    """Returns a median CPU time of the client."""
    return median(timing.cpu_s for timing in timings[key])


def memory(timings, key):
    """Returns a median of the largest memory, in bytes."""
    return median(timing.max_rss_bytes for timing in timings[key])


def rows_of(timings, beside):
    """Returns heads and rows, one for each way and peer, with the ratio to the peer `beside` in that way."""
    rows = []
    for way in dict.fromkeys(way for _, way in timings):
        for name in (name for name, its in timings if its == way):
            key, other = (name, way), (beside, way)
            ratio = wall(timings, key) / wall(timings, other) if other in timings else None
            rows.append([f"{way}: {name}", wall(timings, key), spread(timing.wall_s for timing in timings[key]), ratio,
                         cpu(timings, key), memory(timings, key) / MIB])
    return ("", "s", "range", f"× {beside}", "CPU s", "max RSS MiB"), rows


def goals_beside(timings, beside, what, limits):
    """Returns goals for the time of ways beside a peer, and for the CPU of a way that is named so; none without it."""
    goals = []
    for way, limit, figure in limits:
        if (beside, way) in timings:
            value = figure(timings, (OURS, way)) / figure(timings, (beside, way))
            name = "CPU" if figure is cpu else "time"
            goals.append(Goal(f"{what}, {way}: {name} beside {beside}", value, limit))
    return goals


def run(lab, repeat, quick):
    """Runs all workloads; returns title, tables, notes, goals and raw numbers."""
    need(PROGRAMS)
    need_server()
    if not lab.binaries:
        raise Refused("sync needs run-new and run-sync")
    if not quick and shutil.disk_usage(lab.root).free < 20 * GIB:
        raise Refused("the scratch directory needs 20 GiB of free space; name another one with --scratch")
    chosen = [name for name in WORKLOADS if not lab.only or any(fnmatch(name, pattern) for pattern in lab.only)]
    if not chosen:
        raise Refused(f"no workload fits '{' '.join(lab.only)}'; there are: {', '.join(WORKLOADS)}")
    mixed = Shape(100, (20 * MIB,)) if quick else Shape(5000, (256 * MIB,) * 3)
    checkpoint = Shape(0, (64 * MIB,)) if quick else Shape(0, (4 * GIB,))
    raw, tables, goals, largest = [], [], [], []
    sets = {
        MIXED: (mixed, (UP, AGAIN, DOWN), [(UP, 0.75, wall), (UP, 0.5, cpu), (AGAIN, 0.15, wall), (DOWN, 0.9, wall)]),
        CHECKPOINT: (checkpoint, (UP, DOWN), [(UP, 0.75, wall), (UP, 0.5, cpu), (DOWN, 0.9, wall)]),
    }
    sets = {name: its for name, its in sets.items() if name in chosen}
    peers, notes = clients(lab) if sets else ([], [])
    for workload, (shape, ways, limits) in sets.items():
        timings = measured(lab, peers, shape, ways, repeat, workload, raw, quick)
        tables.append((f"{workload}: {shape.files:,} files to SeaweedFS", *rows_of(timings, S5CMD)))
        goals += goals_beside(timings, S5CMD, workload, limits)
        largest += [memory(timings, (OURS, way)) for way in ways]
    if DIRECTORY in chosen:
        timings, more = directories(lab, mixed, repeat, raw)
        notes += more
        tables.append((f"directory: {mixed.files:,} files", *rows_of(timings, RCLONE)))
        goals += goals_beside(timings, RCLONE, "directory", [(UP, 0.45, wall)])
        largest.append(memory(timings, (OURS, UP)))
    if ONE_MORE in chosen:
        files, share = one_more(lab, MIB if quick else 256 * MIB)
        goals.append(Goal("one more checkpoint: bytes sent", share, 1.001, "× its size"))
        notes.append(f"After one more checkpoint a backup sent {files} files, {number(share)} times the bytes of the "
                     "checkpoint.")
    if LINEAR in chosen:
        few, many = counts = (100, 1000) if quick else (10_000, 100_000)
        timings = linear(lab, counts, repeat, raw)
        table = [[f"{way}, {count:,} files", wall(timings, (count, way)),
                  spread(t.wall_s for t in timings[count, way]), wall(timings, (count, way)) / count * 1e6,
                  cpu(timings, (count, way)), memory(timings, (count, way)) / MIB]
                 for way in (UP, AGAIN) for count in counts]
        heads = ("", "s", "range", "µs a file", "CPU s", "max RSS MiB")
        tables.append(("many files of 1 KiB to a directory", heads, table))
        goals += [Goal(f"time of a file, {way}: of {many:,} beside {few:,}",
                       wall(timings, (many, way)) / many / (wall(timings, (few, way)) / few), 1.25)
                  for way in (UP, AGAIN)]
        largest += [memory(timings, (many, way)) for way in (UP, AGAIN)]
    if largest:
        goals.append(Goal("memory, the most", max(largest) / 1e6, 200, "MB"))
    notes += ["CPU is that of the client; the server shares the cores. curl signs, hashes and proves nothing: the server's own limit.",
              "Of what writes to a directory, run-sync and `sync -f` alone wait until the files are on the disk."]
    return "sync: runs to a store and back", tables, notes, goals, raw
