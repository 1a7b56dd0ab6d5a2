#!/usr/bin/env python3
"""Stands for kubectl and a cluster: Jobs are files below KUBE_STATE, and a pod is a process of this machine.

It does what examples/run-launch-kubernetes needs, as Kubernetes documents it: one pod for each Job, $(NAME) and $$ in
commands, SIGTERM and the grace period on deletion, label selectors, Lists, --dry-run."""
import json
import os
import re
import signal
import subprocess
import sys
import time

STATE = os.environ["KUBE_STATE"]


def fail(words):
    print(f"error: {words}", file=sys.stderr)
    sys.exit(1)


def options(words):
    """Returns the operands and the options; a value may follow its option."""
    operands, given = [], {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            operands.append(word)
        elif "=" in word:
            name, value = word.split("=", 1)
            given[name] = value
        elif word in ("-f", "-o", "-l", "-n", "--namespace", "--context"):
            given[word] = words.pop(0)
        else:
            given[word] = ""
    return operands, given


def path(name):
    return f"{STATE}/{name}.json"


def load(name):
    try:
        with open(path(name)) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def save(job):
    with open(path(job["metadata"]["name"]) + ".new", "w") as file:
        json.dump(job, file)
    os.rename(file.name, path(job["metadata"]["name"]))


def expanded(word):
    """Expands $(NAME), of which none is set here, and $$."""
    return re.sub(r"\$(\$|\([^()]*\))", lambda found: "$" if found[1] == "$" else found[0], word)


def check(job):
    name = job.get("metadata", {}).get("name", "")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        fail(f'The Job "{name}" is invalid: metadata.name')
    if job["spec"]["template"]["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        fail(f'The Job "{name}" is invalid: restartPolicy')
    grace = job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
    if not isinstance(grace, int):
        fail(f'The Job "{name}" is invalid: terminationGracePeriodSeconds')
    if job["spec"]["template"]["spec"].get("nodeSelector", {}).get("forbidden"):
        fail(f'jobs.batch "{name}" is forbidden: exceeded quota')


def start(job):
    """Starts the pod, as a process that outlives this one."""
    container = job["spec"]["template"]["spec"]["containers"][0]
    words = [expanded(word) for word in container["command"] + container.get("args", [])]
    environment = dict(os.environ, **{one["name"]: one["value"] for one in container.get("env", [])})
    pod = subprocess.Popen(words, cwd=container.get("workingDir"), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)
    job["pid"] = pod.pid
    job["start"] = stat(pod.pid)


def stat(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        return None


def pod_of(job):
    # One that has ended before it was looked at has no start.
    is_alive = "pid" in job and job["start"] is not None and stat(job["pid"]) == job["start"]
    if "pid" not in job:
        status = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}
    else:
        status = {"phase": "Running" if is_alive else "Succeeded"}
    return {"kind": "Pod", "metadata": {"labels": job["spec"]["template"]["metadata"]["labels"]}, "status": status}


def shown(job):
    """Returns a Job and its pod as they are now."""
    pod = pod_of(job)
    over = pod["status"]["phase"] == "Succeeded"
    if over and job.get("deleted"):
        os.unlink(path(job["metadata"]["name"]))
        return []
    end = [{"type": "Complete", "status": "True"}] if over else []
    kept = {key: value for key, value in job.items() if key not in ("pid", "start", "deleted")}
    return [{**kept, "kind": "Job", "status": {"active": 0 if over else 1, "conditions": end}}, pod]


def create(given):
    text = sys.stdin.read() if given["-f"] == "-" else open(given["-f"]).read()
    found = json.loads(text)
    if given.get("--dry-run") == "client":
        print(json.dumps(found))
        return
    for job in found["items"] if found["kind"] == "List" else [found]:
        check(job)
        if given.get("--dry-run") != "server":
            if load(job["metadata"]["name"]):
                fail(f'jobs.batch "{job["metadata"]["name"]}" already exists')
            if not job["spec"]["template"]["spec"].get("nodeSelector", {}).get("full"):
                start(job)
            save(job)
        print(f"job.batch/{job['metadata']['name']}")


def get(given):
    chosen = re.fullmatch(r"run-tools in \(([-a-z0-9,]+)\)", given["-l"])
    names = chosen[1].split(",") if chosen else fail("unable to parse the selector")
    jobs = [load(name) for name in names]
    print(json.dumps({"kind": "List", "items": [it for job in jobs if job for it in shown(job)]}))


def delete(operands):
    for name in operands[1:]:
        job = load(name)
        if not job:
            continue
        if "pid" not in job:
            os.unlink(path(name))
            continue
        job["deleted"] = True
        save(job)
        if stat(job["pid"]) == job["start"]:
            os.kill(job["pid"], signal.SIGTERM)
        print(f'job.batch "{name}" deleted')


def main():
    if os.path.exists(f"{STATE}/down"):
        time.sleep(0.1)
        fail("Unable to connect to the server: dial tcp 10.0.0.1:6443: connect: connection refused")
    operands, given = options(sys.argv[2:])
    {"create": lambda: create(given), "get": lambda: get(given), "delete": lambda: delete(operands)}[sys.argv[1]]()


main()
