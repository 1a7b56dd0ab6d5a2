"""Installs the tools to compare with below bench/scratch, once; what is on the machine already is used."""

import shutil
import subprocess
import sys

from harness import BENCH, PATH

ROOT = BENCH / "scratch" / "truth"
TIMEOUT_S = 1800


class Missing(Exception):
    """A tool cannot be had here."""


def execute(*command, cwd=None):
    """Executes a command of an installation and returns what it printed."""
    try:
        # The caller's environment: it may be what says where packages come from.
        done = subprocess.run(list(map(str, command)), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")
    return done.stdout


def place(name):
    """Returns the directory of a tool, and whether it was installed there completely."""
    directory = ROOT / name
    return directory, (directory / ".complete").exists()


def complete(directory):
    """Marks an installation as complete."""
    (directory / ".complete").touch()


def debian(package, program):
    """Returns the path and version of a program of a Debian package, unpacked if it is not installed."""
    found = shutil.which(program, path=PATH)
    if found and (package != "parallel" or "GNU parallel" in execute(found, "--version")):
        return found, execute("dpkg-query", "-W", "-f", "${Version}", package)
    directory, whole = place(package)
    if not whole:
        note(package)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        try:
            execute("apt-get", "download", package, cwd=directory)
        except Missing:
            execute("apt-get", "update")
            execute("apt-get", "download", package, cwd=directory)
        [archive] = directory.glob("*.deb")
        execute("dpkg-deb", "-x", archive, directory)
        complete(directory)
    [archive] = directory.glob("*.deb")
    return str(directory / "usr/bin" / program), execute("dpkg-deb", "-f", archive, "Version").strip()


def python(package):
    """Returns the directory of programs and the version of a Python package, in an environment of its own."""
    directory, whole = place(package)
    if not whole:
        note(package)
        shutil.rmtree(directory, ignore_errors=True)
        execute(sys.executable, "-m", "venv", directory)
        execute(directory / "bin/pip", "install", "--quiet", "--disable-pip-version-check", package)
        complete(directory)
    lines = execute(directory / "bin/pip", "--disable-pip-version-check", "show", package).splitlines()
    return directory / "bin", next(line.split()[1] for line in lines if line.startswith("Version:"))


def cargo(package):
    """Returns the directory of programs and the version of a Rust package; not optimised: it is not timed."""
    directory, whole = place(package)
    if not whole:
        note(package)
        shutil.rmtree(directory, ignore_errors=True)
        execute("cargo", "install", "--quiet", "--debug", "--locked", "--root", directory, "--target-dir",
                directory / "build", package)
        shutil.rmtree(directory / "build")
        complete(directory)
    return directory / "bin", execute(directory / "bin" / package, "--version").split()[-1]


def note(package):
    """Says what takes so long."""
    print(f"installing {package}", file=sys.stderr)
