"""runner.py COMMAND [ARG...]: what run scripts in Python do: a thread reads each stream, and flushes
three logs a line."""

import subprocess
import sys
import threading
from datetime import datetime, timezone


def pump(stream, name, log, combined, lock):
    for line in stream:
        log.write(line)
        log.flush()
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with lock:
            combined.write(f"{stamp} {name} F ".encode() + line)
            combined.flush()


def main():
    lock = threading.Lock()
    with open("stdout.log", "wb") as out, open("stderr.log", "wb") as err, open("combined.log", "wb") as combined:
        child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        threads = [
            threading.Thread(target=pump, args=(child.stdout, "stdout", out, combined, lock)),
            threading.Thread(target=pump, args=(child.stderr, "stderr", err, combined, lock)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())
