"""A Slurm of our own on this machine: controller and two node daemons, each node with a host name of its own.

Needs root, slurmctld, slurmd, slurm-client and munge; nothing outside of one temporary directory changes.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

NODES = ("engram-n1", "engram-n2")
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "unshare")
SECONDS_TO_START = 60

CONFIG = """\
ClusterName=engram
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
SlurmctldPort={port}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
TmpFS={directory}/tmp
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=60
MpiDefault=none
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 OverSubscribe=NO
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 OverSubscribe=NO
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} State=UNKNOWN\n"


def why_not():
    """What is missing to start one here; "" for nothing."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path="/usr/sbin:/sbin:" + os.environ["PATH"])]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "only root can start node daemons"


class Cluster:
    """`with Cluster(environment) as cluster:` the daemons run; jobs start with that environment."""

    def __init__(self, environment, cpus_per_node):
        self._temporary = tempfile.TemporaryDirectory(prefix="engram_slurm_")
        self.path = pathlib.Path(self._temporary.name)
        path = "/usr/sbin:/sbin:" + environment["PATH"]
        self.environment = dict(environment, PATH=path, SLURM_CONF=str(self.path / "slurm.conf"))
        self._daemons = []
        self._write_config(cpus_per_node)

    def _write_config(self, cpus_per_node):
        host = os.uname().nodename
        port, *node_ports = free_ports(1 + len(NODES))
        text = CONFIG.format(host=f"{host}(127.0.0.1)", directory=self.path, port=port)
        for name, node_port in zip(NODES, node_ports):
            text += NODE.format(name=name, host=host, port=node_port, cpus=cpus_per_node)
        (self.path / "slurm.conf").write_text(text, encoding="utf-8")
        for name in ("state", "tmp"):
            (self.path / name).mkdir()

    def __enter__(self):
        try:
            self._start_munge()
            self._start(["slurmctld", "-D", "-i"], "slurmctld.out")
            for name in NODES:
                self._start_node(name)
            self._wait_until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._temporary.cleanup()

    def _start(self, command, log):
        with open(self.path / log, "wb") as output:
            self._daemons.append(subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                                  stdout=output, stderr=subprocess.STDOUT))  # fmt: skip

    def _start_munge(self):
        key = self.path / "munge.key"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], env=self.environment, check=True)
        self.path.chmod(0o755)
        self._start(["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.path}/munge.socket",
                     f"--pid-file={self.path}/munged.pid", f"--log-file={self.path}/munged.log",
                     f"--seed-file={self.path}/munged.seed"], "munged.out")  # fmt: skip
        wait_for(lambda: (self.path / "munge.socket").exists(), "munged does not start")

    def _start_node(self, name):
        """In namespaces of its own: PMIx keeps directories in TmpFS that are called alike on all nodes."""
        script = f"mount -t tmpfs tmpfs {self.path}/tmp && hostname {name} && exec slurmd -D -N {name}"
        self._start(["unshare", "--uts", "--mount", "sh", "-c", script], f"slurmd-{name}.out")

    def _wait_until_idle(self):
        def idle():
            states = self.command("sinfo", "--noheader", "--Node", "--partition=low", "--format=%T", check=False)
            return states.split() == ["idle"] * len(NODES)

        wait_for(idle, "the nodes do not come up", self.logs)

    def logs(self):
        logs = [path for path in self.path.iterdir() if path.suffix in (".log", ".out")]
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def command(self, *words, check=True):
        """What a command of Slurm prints."""
        done = subprocess.run(words, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)  # fmt: skip
        output = done.stdout.decode("utf-8", errors="replace")
        if check and done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}: {output}\n{self.logs()}")
        return output

    def submit(self, *words):
        """The number of the job."""
        return self.command("sbatch", "--parsable", *words).strip()

    def job(self, number):
        """What scontrol says about a job, by key."""
        words = self.command("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition, problem, details=lambda: "", seconds=SECONDS_TO_START):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{problem}\n{details()}")
        time.sleep(0.1)
