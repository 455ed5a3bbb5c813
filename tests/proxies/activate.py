"""Start a program as systemd does for a socket unit: `python activate.py ADDRESS ...`.

sd_listen_fds(3): the listening sockets are the descriptors from 3 on, LISTEN_FDS says
how many, and LISTEN_PID is the id of the process that is meant.
"""

import os
import socket
import sys

address, program = sys.argv[1], sys.argv[2:]
if address.startswith("/"):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
else:
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host, int(port)))
listener.listen(4096)
listener.set_inheritable(True)
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(program[0], program)
