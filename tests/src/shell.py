"""Types lines into an interactive shell in a terminal, each with Tab, and prints what the lines are then, as JSON.

shell.py SHELL LINE...
"""

import json
import os
import pty
import select
import sys
import time

SETUP = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
RC = {
    "bash": "for tool in run-status run-exec run-new run-report run-stop run-eval run-sync; do "
    'source <("$tool" --generate-completions bash); done; '
    "bind 'set bell-style none'; bind 'set completion-query-items 0'; bind 'set page-completions off'; "
    "dump() { printf %s \"$READLINE_LINE\" >line.part; mv line.part line; READLINE_LINE=; }; "
    "bind -x '\"\\C-g\": dump'; touch ready\n",
    "zsh": "autoload -Uz compinit; compinit -u -D; unsetopt beep; LISTMAX=100000; "
    "for tool in run-status run-exec run-new run-report run-stop run-eval run-sync; do "
    'source <("$tool" --generate-completions zsh); done; '
    "dump() { print -rn -- \"$BUFFER\" >line.part; mv line.part line; BUFFER=; }; zle -N dump; "
    "bindkey '^g' dump; touch ready\n",
}


def main():
    shell, lines = sys.argv[1], sys.argv[2:]
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(SETUP[shell][0], SETUP[shell])

    def wait(name):
        end = time.monotonic() + 60
        while not os.path.exists(name):
            if time.monotonic() > end:
                sys.exit(f"{shell}: there is no file '{name}'")
            if select.select([terminal], [], [], 0.02)[0]:
                os.read(terminal, 65536)

    os.write(terminal, RC[shell].encode())
    wait("ready")
    found = []
    for line in lines:
        os.write(terminal, f"{line}\t\x07".encode())
        wait("line")
        with open("line") as file:
            found.append(file.read())
        os.remove("line")
    os.close(terminal)
    print(json.dumps(found))


main()
