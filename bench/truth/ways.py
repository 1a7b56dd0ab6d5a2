"""The ways in which a training gets into trouble or ends: one function each, which can be read alone."""

import signal
from dataclasses import dataclass
from typing import Callable

from truth.cell import Skip, stat, wait_for

SOON_S = 5  # a few seconds


@dataclass(frozen=True)
class Way:
    """What happens to a training, and how many seconds later everybody is asked."""

    name: str
    text: str
    wait_s: float
    act: Callable


WAYS = {}


def way(text, wait_s=SOON_S):
    """Adds a function to the ways, under its own name with hyphens."""
    def add(act):
        name = act.__name__.replace("_", "-")
        WAYS[name] = Way(name, text, wait_s, act)
        return act
    return add


def need(has_it, what):
    """Gives up before anything starts when the tool has no such thing."""
    if not has_it:
        raise Skip(what)


def need_supervisor(cell):
    """The same for the supervisor."""
    need(cell.peer.has_supervisor, "has no process beside the training")


def need_client(cell):
    """The same for the client."""
    need_supervisor(cell)
    need(cell.peer.has_client, "has no process beside the supervisor")


def parts(cell):
    """Returns the processes of the tool itself: client and supervisor, as far as it has them."""
    found = [cell.peer.client(cell)] if cell.peer.has_client else []
    return found + [cell.peer.supervisor(cell)] if cell.peer.has_supervisor else found


def end_main_thread(cell):
    """Lets the main thread end while another one trains on."""
    cell.order("thread")
    wait_for("the main thread to end", lambda: stat(cell.main)[0] == "Z")


@way("nothing happens: it trains")
def trains(cell):
    cell.start()


@way("it takes all its steps and exits with 0")
def exit_0(cell):
    cell.start()
    cell.order("finish")


@way("it raises an exception and exits with 1")
def exit_1(cell):
    cell.start()
    cell.order("fail")


@way("its command cannot be found")
def not_found(cell):
    cell.found = False
    cell.peer.start(cell)
    cell.wait_for_rest()


@way("its main process gets SIGKILL")
def main_killed(cell):
    cell.start()
    cell.kill(cell.main)


@way("the tool's supervisor or daemon gets SIGKILL")
def supervisor_killed(cell):
    need_supervisor(cell)
    cell.start()
    cell.kill(cell.peer.supervisor(cell))


@way("the tool's client gets SIGKILL")
def client_killed(cell):
    need_client(cell)
    cell.start()
    cell.kill(cell.peer.client(cell))


@way("supervisor and client get SIGKILL at once")
def both_killed(cell):
    need_client(cell)
    cell.start()
    cell.kill_at_once(*parts(cell))


@way("supervisor and client get SIGKILL at once; the training, which prints nothing, goes on")
def both_killed_mute(cell):
    need_client(cell)
    cell.start()
    cell.order("mute")
    cell.kill_at_once(*parts(cell))


@way("everything gets SIGKILL at once: training, supervisor and client")
def all_killed(cell):
    cell.start()
    cell.kill_all()


@way("the machine is restarted: everything is killed at once, and the record is of another boot")
def reboot(cell):
    need(cell.peer.records_boot, "records no boot: see all-killed")
    cell.start()
    cell.kill_all()
    cell.peer.reboot(cell)


@way("everything is killed at once, and strangers get the pids of training, supervisor and client")
def pid_reused(cell):
    cell.start()
    pids = [cell.main, *parts(cell)]
    cell.kill_all()
    for pid in pids:
        cell.reuse(pid)


@way("the control group runs out of memory, and the kernel kills the largest process")
def out_of_memory(cell):
    cell.limit_memory()
    cell.start()
    main = cell.main
    cell.order("memory")
    wait_for("the kernel to end it", lambda: not stat(main) or stat(main)[0] == "Z")


@way("it gets SIGTERM from outside, which it does not handle")
def sigterm(cell):
    cell.start()
    cell.order("deaf")
    cell.kill(cell.main, number=signal.SIGTERM)


@way("it gets SIGTERM from outside, saves a checkpoint and exits with 0")
def sigterm_saves(cell):
    cell.start()
    cell.kill(cell.main, number=signal.SIGTERM)


@way("the tool is asked to stop it, and it saves a checkpoint and exits with 0")
def stop_exit_0(cell):
    cell.start()
    cell.peer.stop(cell)


@way("it gets SIGSTOP", wait_s=65)
def main_suspended(cell):
    cell.start()
    cell.kill(cell.main, number=signal.SIGSTOP)


@way("it hangs: it lives, and prints and does nothing", wait_s=65)
def silence(cell):
    cell.start()
    cell.order("silence")


@way("the supervisor gets SIGSTOP, and the training goes on")
def supervisor_suspended(cell):
    need_supervisor(cell)
    cell.start()
    cell.kill(cell.peer.supervisor(cell), number=signal.SIGSTOP)


@way("the supervisor gets SIGSTOP, and the training takes all its steps and exits with 0")
def supervisor_suspended_end(cell):
    need_supervisor(cell)
    cell.start()
    cell.kill(cell.peer.supervisor(cell), number=signal.SIGSTOP)
    cell.order("finish")


@way("it goes on in a process that it forked twice, and its main process exits with 0", wait_s=12)
def double_fork(cell):
    cell.start()
    cell.order("fork")


@way("its main thread ends, and another thread trains on: the process looks like a zombie")
def zombie_leader(cell):
    cell.start()
    end_main_thread(cell)


@way("its main thread ends, another trains on and prints nothing; supervisor and client get SIGKILL at once")
def zombie_leader_left(cell):
    need_supervisor(cell)
    cell.start()
    cell.order("mute")
    killed = parts(cell)
    end_main_thread(cell)
    cell.kill_at_once(*killed)


@way("the disk of logs and records is full, and then it ends, with 0 unless it fails to print")
def disk_full(cell):
    cell.mount()
    cell.start()
    cell.fill()
    cell.order("finish")


@way("it was started in a terminal, and the terminal is closed")
def hangup(cell):
    with cell.terminal(cell.peer.foreground(cell)):
        cell.wait_for_steps()


@way("it waits in a queue behind another one, and what keeps it there gets SIGKILL")
def queue_killed(cell):
    need(cell.peer.has_queue, "has no queue")
    cell.judged = cell.dir / "second"
    cell.judged.mkdir()
    cell.kill(*cell.peer.queue(cell))


@way("its directory is copied while it trains, and the copy is asked about")
def copied(cell):
    need(cell.peer.is_directory, "keeps no directory of it")
    cell.start()
    cell.check('cp -a "$1" "$2"', cell.home, cell.dir / "copy")
    cell.asked_home = cell.dir / "copy"
