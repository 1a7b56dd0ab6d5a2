"""What is so, by /proc and what the training noted of itself; what a tool says; whether that is true."""

from dataclasses import dataclass

from truth.cell import is_alive, thread_states

TRUE, PART, FALSE, NOTHING = "true", "in part", "false", "says nothing"

# What is so.
TRAINS, SUSPENDED, SILENT = "trains", "suspended", "silent"
COMPLETE, FAILED, KILLED, SAVED, LEFT = "complete", "failed", "killed", "saved", "left"
NOT_FOUND, WAITS, COPY = "not found", "waits", "copy"

# What a tool may say. `exit 0` is a bare status, `completed` calls it a success; `gone` is an end without a
# word of how; `doubt` names what is wrong and claims neither life nor end; `outlived` is a completed command
# whose left processes were ended.
RUNNING, QUIET, STOPPED_PROCESS, DOUBT, WAITING = "running", "quiet", "suspended", "doubt", "waiting"
COMPLETED, EXIT_0, FAILURE, SIGNAL, STOPPED, GONE, DEAD, OUTLIVED, SILENCE = (
    "completed", "exit 0", "failed", "killed", "stopped", "gone", "dead", "outlived", "nothing")

# For each thing that is so, the claims that are true of it and those that are but tell no more than half.
# All other claims are false.
VERDICTS = {
    TRAINS: ({RUNNING, DOUBT}, set()),
    SUSPENDED: ({STOPPED_PROCESS, QUIET}, {RUNNING, DOUBT}),
    SILENT: ({QUIET}, {RUNNING, DOUBT}),
    COMPLETE: ({COMPLETED, EXIT_0}, {GONE, DOUBT}),
    FAILED: ({FAILURE}, {GONE, DEAD, DOUBT}),
    KILLED: ({SIGNAL, FAILURE, DEAD, STOPPED}, {GONE, DOUBT}),
    # It ended with status 0 because it was asked to, with most of its steps untaken.
    SAVED: ({STOPPED, SIGNAL, FAILURE, OUTLIVED}, {EXIT_0, GONE, DEAD, DOUBT}),
    # The same, after a double fork: the command ended by itself, and what it left was ended.
    LEFT: ({OUTLIVED}, {COMPLETED, EXIT_0, GONE, DOUBT}),
    NOT_FOUND: ({FAILURE}, {GONE, DEAD, DOUBT}),
    WAITS: ({WAITING, STOPPED, FAILURE, SIGNAL}, {GONE, DEAD, DOUBT}),
    COPY: ({DEAD, GONE, STOPPED, SIGNAL, FAILURE}, {DOUBT}),
}


@dataclass(frozen=True)
class Truth:
    """What is so with a training."""

    kind: str
    text: str


@dataclass(frozen=True)
class Says:
    """What a tool says: a claim, and its words."""

    claim: str
    text: str


def truth_of(cell):
    """Finds out what is so with the training that is asked about."""
    if cell.asked_home != cell.home:
        return Truth(COPY, "nothing runs in the copy")
    events = cell.journal(cell.judged)
    starts = [event for event in events if event["event"] == "start"]
    if not starts:
        return Truth(WAITS, "has not started") if cell.found else Truth(NOT_FOUND, "never started")
    alive = [event["pid"] for event in starts if is_alive(event["pid"], event["start"])]
    if alive:
        states = thread_states(alive[-1])
        if any(state == "T" for state in states):
            return Truth(SUSPENDED, "alive, suspended")
        if not cell.is_training():
            return Truth(SILENT, "alive, does nothing")
        if states[0] == "Z":
            return Truth(TRAINS, "trains; its main thread has ended")
        left = alive[-1] != starts[0]["pid"]
        return Truth(TRAINS, "trains, in a process that it left" if left else "trains")
    last = starts[-1]["pid"]
    end = next((event for event in events if event["event"] == "end" and event["pid"] == last), None)
    if end is None:
        return Truth(KILLED, "killed by a signal")
    if end["status"] != 0:
        return Truth(FAILED, f"ended with {end['status']}")
    if end["whole"]:
        return Truth(COMPLETE, "ended with 0, all steps taken")
    if len(starts) > 1:
        return Truth(LEFT, "ended with 0; what it left was asked to end, and saved")
    return Truth(SAVED, "ended with 0 because it was asked to, most steps untaken")


def verdict(truth, says):
    """Returns whether what is said is so."""
    if says.claim == SILENCE:
        return NOTHING
    true, part = VERDICTS[truth.kind]
    return TRUE if says.claim in true else PART if says.claim in part else FALSE
