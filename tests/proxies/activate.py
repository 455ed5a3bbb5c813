"""Start a program as systemd does for a socket unit: `python activate.py SOCKET ...`.

SOCKET is where to listen, or the number of a descriptor that listens already.

sd_listen_fds(3): the listening sockets are the descriptors from 3 on, LISTEN_FDS says
how many, and LISTEN_PID is the id of the process that is meant.
"""

import os
import socket
import sys


def open_listener(place):
    if place.startswith("/"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(place)
    else:
        host, _, port = place.rpartition(":")
        listener = socket.create_server((host, int(port)))
    listener.listen(4096)
    return listener.detach()


place, program = sys.argv[1], sys.argv[2:]
descriptor = int(place) if place.isdigit() else open_listener(place)
if descriptor != 3:
    os.dup2(descriptor, 3)
    os.close(descriptor)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(program[0], program)
