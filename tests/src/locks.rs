//! Locks that another process holds.

use crate::{Lab, Running, wait_for};

/// Takes the lock of a file, as a run-exec does that was suspended while it wrote, and holds it.
pub fn hold(lab: &Lab, path: &str) -> Running {
    let program = "import fcntl, os, sys, time
lock = open(sys.argv[1], 'a+')
lock.write('process %d on elsewhere\\n' % os.getpid())
lock.flush()
fcntl.lockf(lock, fcntl.LOCK_EX)
open('held', 'w')
while True: time.sleep(1)";
    let holder = lab.cmd("python3").args(["-c", program, path]).spawn();
    wait_for("the lock", || lab.path("held").exists());
    holder
}
