"""Workers that serve many machines each: TorchServe's workers are threads of a few processes that have masd loaded.

TorchServe starts a process for every worker of every model. Here that process is a small shell, which hands its socket
and its output to one of the shared processes (``launcher``); a thread there does the work (``engine``). For TorchServe
nothing changes: each machine has its own queue, versions, metrics, errors and log lines.
"""

MARK = "shared-worker"
"""The file in an unpacked archive that says that it holds no code, and is for a shared worker."""
