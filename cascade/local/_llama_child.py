"""Serve one GGUF model over HTTP on loopback: the body of the child process of `server`.

Run as a script (`python -P _llama_child.py SETTINGS`), never imported by the engine.  It writes one
line of JSON when the server listens, and ends when its standard input does: that is the pipe from
the parent, and the system closes it however the parent ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading

MISSING_RUNTIME = 3
"""Exit code for: xllamacpp cannot be imported."""


def main() -> None:
    # Whatever native code prints must not get between the parent and the line it waits for.
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    settings = json.loads(sys.argv[1])
    parent = threading.Thread(target=_end_with_parent, daemon=True)
    parent.start()
    # Threads that wait for each other must not spin: on cores that have other work too, spinning
    # was measured to make an answer three times slower and a start five times.  It has to be set
    # before OpenMP is loaded.
    os.putenv("OMP_WAIT_POLICY", "passive")
    try:
        import xllamacpp
    except ImportError as exc:
        sys.stderr.write(f"xllamacpp: {exc}\n")
        sys.exit(MISSING_RUNTIME)
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the system picks a free one, so no two servers can race for it
    params.n_ctx = settings["context"] * settings["parallel"]
    params.n_parallel = settings["parallel"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.cpuparams.poll = 0
    params.cpuparams_batch.poll = 0
    params.cache_ram_mib = 0  # prompts of the past would cost up to 8 GB; the last one stays cached
    params.ui = False
    params.endpoint_slots = False
    server = xllamacpp.Server(params)
    reply.write(json.dumps({"address": server.listening_address}) + "\n")
    reply.close()
    parent.join()


def _end_with_parent() -> None:
    # os.read, not sys.stdin: a thread inside a buffered read would hold the lock at exit.
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
