"""Run `wsmiddleware doctor` in a process that has imported it before and is forked.

What it does to its process (monkey patching, the environment) stays there.
"""

import contextlib
import io
import multiprocessing
import os
import sys
import warnings

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["wsmiddleware.doctor", "gunicorn.app.wsgiapp"])


def examine(arguments, folders, variables, prelude=""):
    """Return the status and the output for these arguments.

    The first of `folders` is where it runs, all of them are on its path; `prelude` is
    executed before.
    """
    ours, its = forks.Pipe()
    details = (its, arguments, list(map(str, folders)), variables, prelude)
    process = forks.Process(target=_run, args=details)
    process.start()
    its.close()
    try:
        return ours.recv()
    finally:
        process.join()
        ours.close()


def _run(connection, arguments, folders, variables, prelude):
    from wsmiddleware.__main__ import main

    warnings.simplefilter("error")
    for name in list(os.environ):
        if name.startswith(("WSMIDDLEWARE_", "GUNICORN_")):
            del os.environ[name]
    os.environ.update(variables)
    os.chdir(folders[0])
    sys.path[:0] = folders
    exec(prelude, {})
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main(["doctor", *arguments])
    connection.send((status, output.getvalue()))
