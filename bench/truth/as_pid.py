"""as_pid.py PID COMMAND...: executes a command as the process PID, which must be free; SIGTERM ends both.

The kernel gives a pid again only after all others; clone3(2) lets root ask for one.
"""

import ctypes
import os
import signal
import struct
import sys

CLONE3 = 435


def main(pid, command):
    wanted = (ctypes.c_int * 1)(pid)
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    libc = ctypes.PyDLL(None, use_errno=True)
    child = libc.syscall(CLONE3, arguments, len(arguments))
    if child < 0:
        sys.exit(f"clone3: {os.strerror(ctypes.get_errno())}")
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
