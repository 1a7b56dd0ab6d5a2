"""submit.py submit FOLDER PLACE: submits the training to submitit's local executor, waits, and answers.
submit.py ask FOLDER JOB: opens the job anew, and answers.

An answer is the job's state and, when it has ended, its exception, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import submitit

import train


def answer(job):
    state, error = job.state, None
    if state == "FINISHED":
        failure = job.exception()
        if failure:
            error = type(failure).__name__ + ": " + (str(failure).strip().splitlines() or [""])[0]
    return json.dumps([state, error])


def submit(folder, place):
    executor = submitit.AutoExecutor(folder=folder, cluster="local")
    executor.update_parameters(timeout_min=60)
    if place == "--not-found":
        job = executor.submit(submitit.helpers.CommandFunction(["no-such-program"]))
    else:
        job = executor.submit(train.main, place)
    Path("job.new").write_text(job.job_id)
    Path("job.new").rename("job")
    while True:
        if Path("question").exists():
            Path("answer").write_text(answer(job))
            Path("question").unlink()
        if Path("cancel").exists():
            job.cancel()
            Path("cancel").unlink()
        time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        submit(*sys.argv[2:])
    print(answer(submitit.LocalJob(folder=sys.argv[2], job_id=sys.argv[3])))
