"""What every tool of the table has: how to start a training with it, how to stop one, and how to ask."""

from truth.judge import SILENCE, Says


class Peer:
    """A tool, used as its manual shows."""

    name = ""  # in the names of cells
    title = ""  # in the table
    question = ""  # how its users ask
    is_heavy = False  # whether it takes seconds of CPU time to start
    writes_late = False  # whether what it is asked about appears in its files only after some seconds
    has_supervisor = True  # whether it has a process beside the training
    has_client = False  # whether another process stands between that and the user
    has_queue = False
    records_boot = False  # whether what it writes says of which boot it is
    is_directory = False  # whether a copy of the directory that it writes is a thing to ask about

    def install(self, lab):
        """Makes the tool available and returns its version; raises Missing where that cannot be."""
        raise NotImplementedError

    def environment(self, cell):
        """Returns variables that the tool needs."""
        return {}

    def start(self, cell):
        """Starts the training in the background."""
        raise NotImplementedError

    def foreground(self, cell):
        """Returns the line that starts the training in a terminal."""
        raise NotImplementedError

    def ask(self, cell):
        """Asks what the training does."""
        raise NotImplementedError

    def stop(self, cell):
        """Asks for a stop; where the tool has no way, the training itself is asked."""
        cell.check('kill "$1"', cell.main)

    def supervisor(self, cell):
        """Returns the process of the tool that watches the training or keeps its record."""
        raise NotImplementedError

    def client(self, cell):
        """Returns the process that stands between the user and the supervisor."""
        raise NotImplementedError

    def queue(self, cell):
        """Starts a training and lets another one wait; returns the processes that keep the one that waits."""
        raise NotImplementedError

    def reboot(self, cell):
        """Makes the record say that it is of another boot."""
        raise NotImplementedError

    def clean(self, cell):
        """Ends what killing would not end."""


def first_line(text, word=""):
    """Returns the first line with a word in it, or the first of all, without blanks around."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if word in line), lines[0] if lines else "")


def silent(text):
    """What a tool says that says nothing."""
    return Says(SILENCE, text)
