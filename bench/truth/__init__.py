"""truth: what tools say of a training that was killed, suspended or stopped, beside what is so."""

import fnmatch
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from harness import Failed, Refused
from truth.cell import Cell, Interrupted, Skip, ending, pause
from truth.install import Missing
from truth.judge import FALSE, NOTHING, PART, TRUE, truth_of, verdict
from truth.launchers import Nohup, Parallel, Pueue, RunExec, SystemdRun, TaskSpooler
from truth.trackers import Guild, Mlflow, MlflowRun, Submitit, Wandb
from truth.ways import SOON_S, WAYS

PROGRAMS = ["bash", "ps", "setsid"]
PEERS = (RunExec, Nohup, Parallel, TaskSpooler, Pueue, Mlflow, MlflowRun, Wandb, Guild, Submitit, SystemdRun)
AT_ONCE, HEAVY_AT_ONCE = 12, 3
QUICK = ("run-exec/main-killed", "run-exec/stop-exit-0", "nohup/main-killed", "nohup/stop-exit-0")
ABSENT, BROKEN, NOT_HERE = "–", "not measured", "not here"
LEGEND = """\
Verdicts: true; in part: nothing that is said is wrong, but what matters is missing, as in `no such
process` of a training that failed; false; says nothing: no answer, or one without a word about the
training; –: the tool has no such part, or this machine cannot show this; not here: the tool cannot be had.
All are asked a few seconds after it happened (65 s where silence is what happened), in the way their users
ask, and those that are wrong or silent once more; the last answer counts.
What is so is judged by /proc and by the training's own journal, before and after a tool is asked."""


def asked(cell):
    """Asks a tool; returns its answer and what was so before and after that."""
    for _ in range(5):
        before = truth_of(cell)
        begin = time.monotonic()
        says = cell.peer.ask(cell)
        seconds = time.monotonic() - begin
        truth = truth_of(cell)
        if before.kind == truth.kind:
            break
        pause(1)
    words = says.text.replace(str(cell.lab.root), "").replace(f"@{socket.gethostname()}", "@host")
    return {"verdict": verdict(truth, says), "says": words, "claim": says.claim, "truth": truth.text,
            "kind": truth.kind, "answer_s": round(seconds, 2)}


def measured(cell):
    """Lets a cell happen, and returns what was said and what is so."""
    cell.way.act(cell)
    pause(cell.way.wait_s)
    row = asked(cell)
    if row["verdict"] in (FALSE, NOTHING):
        pause(SOON_S)  # on a busy machine it may have had no time yet
        row = asked(cell)
    return row


def result_of(lab, number, peer, way):
    """Measures a cell and returns its row, whatever happens."""
    row = {"peer": peer.name, "way": way.name, "verdict": ABSENT, "says": "", "claim": "", "truth": "",
           "kind": "", "answer_s": None}
    cell = Cell(lab, number, peer, way)
    try:
        return {**row, **measured(cell)}
    except Skip as reason:
        return {**row, "says": str(reason)}
    except (Failed, OSError, KeyError, ValueError, StopIteration, IndexError) as error:
        words = f"{type(error).__name__}: {error}".replace(str(lab.root), "")
        return {**row, "verdict": BROKEN, "says": words}
    finally:
        cell.clean()


def installed(lab, names):
    """Makes the tools available; returns those that are, and a row of the table of tools for each."""
    peers, rows = [], []
    for kind in PEERS:
        if kind.name not in names:
            continue
        peer = kind()
        try:
            version = peer.install(lab)
            peers.append(peer)
        except Missing as reason:
            version = f"not here: {reason}"
        rows.append([peer.title, peer.name, version, peer.question])
    return peers, rows


def chosen(lab, quick):
    """Returns the names of the cells to measure."""
    names = [f"{peer.name}/{way}" for peer in PEERS for way in WAYS]
    patterns = QUICK if quick and not lab.only else lab.only or ["*"]
    found = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not found:
        raise Refused(f"no cell fits '{' '.join(patterns)}'; a cell is TOOL/WAY, such as {names[2]}")
    return found


def all_results(lab, cells):
    """Measures cells, several at once, those that take long first."""
    # Those of a way one after another, so that no tool is started many times at once.
    order = sorted(cells, key=lambda cell: (-cell[1].wait_s, list(WAYS).index(cell[1].name)))
    results = []
    with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(HEAVY_AT_ONCE) as heavy:
        futures = [(heavy if cell[0].is_heavy else pool).submit(result_of, lab, number, *cell)
                   for number, cell in enumerate(order)]
        try:
            for future in as_completed(futures):
                results.append(future.result())
                row = results[-1]
                print(f"truth: {len(results)} of {len(cells)}: {row['peer']}/{row['way']}: {row['verdict']}",
                      file=sys.stderr)
        except BaseException:
            ending.set()
            for future in futures:
                future.cancel()
            raise
    return results


def escaped(text):
    """Returns text that may stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def overview(results, peers, ways):
    """Returns the table of verdicts: a row for each way, a column for each tool, and what they come to."""
    verdicts = {(row["way"], row["peer"]): row["verdict"] for row in results}
    here = {row["peer"] for row in results}
    rows = [[way, *(verdicts.get((way, peer), "" if peer in here else NOT_HERE) for peer in peers)]
            for way in ways]
    for kind in (TRUE, PART, FALSE, NOTHING):
        counts = [sum(verdicts.get((way, peer)) == kind for way in ways) for peer in peers]
        rows.append([f"**{kind}**", *(f"**{count}**" for count in counts)])
    return "Verdicts", ["", *peers], rows, True


def details(results, peers, way):
    """Returns the table of a way: what each tool says, and what is so."""
    found = {row["peer"]: row for row in results if row["way"] == way.name}
    rows = [[peer, escaped(found[peer]["says"]), escaped(found[peer]["truth"]), found[peer]["verdict"]]
            for peer in peers if peer in found]
    return f"{way.name}: {way.text}", ["", "it says", "what is so", "verdict"], rows, True


def run(lab, _, quick):
    """Measures all cells; returns title, tables, notes, goals and raw results."""
    names = chosen(lab, quick)
    wanted = {name.split("/")[0] for name in names}
    peers, tools = installed(lab, wanted)
    cells = [(peer, way) for peer in peers for way in WAYS.values() if f"{peer.name}/{way.name}" in names]
    try:
        results = all_results(lab, cells)
    except Interrupted as error:
        raise KeyboardInterrupt from error
    order = {name: place for place, name in enumerate(names)}
    results.sort(key=lambda row: order[f"{row['peer']}/{row['way']}"])
    columns = [peer.name for peer in PEERS if peer.name in wanted]
    ways = [way for way in WAYS.values() if any(row["way"] == way.name for row in results)]
    tables = [overview(results, columns, [way.name for way in ways]),
              ("Tools", ["", "in cells", "version", "asked by"], tools, True),
              *(details(results, columns, way) for way in ways)]
    broken = [f"{row['peer']}/{row['way']}: not measured: {row['says']}." for row in results
              if row["verdict"] == BROKEN]
    return "Who tells the truth\n\n" + LEGEND, tables, broken, [], results
