"""Hosts of our own on this machine: each has its name, its network address and its processes; a bridge joins them.

Needs root and iproute2 (ip). A host is a process that holds namespaces; when that ends, and this test may end in any
way, its network is gone. Nothing outside of one temporary directory changes.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

import program

NETWORK = "10.77.0"
TCP_RETRIES = 3  # some two seconds; until then mpirun waits for its daemon on a host that is gone
AGENT = """\
#!/bin/sh
# What mpirun takes for ssh: HOST COMMAND...
directory=$(dirname "$0") host=$1
shift
exec nsenter --target "$(cat "$directory/$host.pid")" --net --uts --mount sh -c "$*"
"""


def why_not():
    """What is missing to start some here; "" for nothing."""
    tools = ("ip", "unshare", "nsenter", "sysctl", "mount", "hostname")
    missing = [name for name in tools if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install iproute2 util-linux procps mount hostname)"
    probe = ("mount --make-rprivate / && mount --bind /etc/hosts /etc/hosts && hostname engram-h1 && "
             f"sysctl --quiet --write net.ipv4.tcp_retries2={TCP_RETRIES} && "
             "ip link add switch type bridge && ip link add port1 type veth peer name port2")  # fmt: skip
    done = subprocess.run(["unshare", "--net", "--uts", "--mount", "sh", "-c", probe], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)  # fmt: skip
    return "" if done.returncode == 0 else f"no network namespaces here: {done.stdout.decode().strip()}"


class Hosts:
    """`with Hosts(names) as hosts:` they are there."""

    def __init__(self, names):
        self.names = names
        self._temporary = tempfile.TemporaryDirectory(prefix="engram_hosts_")
        self.path = pathlib.Path(self._temporary.name)
        self._holders = {}
        addresses = "".join(f"{NETWORK}.{i} {name}\n" for i, name in enumerate(names, 1))
        (self.path / "hosts").write_text("127.0.0.1 localhost\n" + addresses, encoding="utf-8")
        (self.path / "agent").write_text(AGENT, encoding="utf-8")
        (self.path / "agent").chmod(0o755)

    def __enter__(self):
        try:
            self._hold("switch", "ip link add switch type bridge && ip link set switch up")
            for number, name in enumerate(self.names, 1):
                self._start_host(number, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name, holder in self._holders.items():
            for pid in self.processes(name) if holder.poll() is None else ():
                with contextlib.suppress(ProcessLookupError):  # it ended with another
                    os.kill(pid, signal.SIGKILL)
        for holder in self._holders.values():
            holder.stdin.close()
            holder.wait()
            holder.stdout.close()
        self._temporary.cleanup()

    def _hold(self, name, script):
        """A process in new namespaces that ends with its standard input; returns when it has run the script."""
        script = f"mount --make-rprivate / && {script} && echo ready && exec cat"
        holder = subprocess.Popen(["unshare", "--net", "--uts", "--mount", "sh", "-c", script], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        first = holder.stdout.readline()
        if first != b"ready\n":  # perhaps without namespaces of its own: __exit__() must not see it
            holder.kill()
            raise AssertionError(f"{name} does not start: {(first + holder.communicate()[0]).decode()}")
        self._holders[name] = holder
        (self.path / f"{name}.pid").write_text(str(holder.pid), encoding="utf-8")

    def _start_host(self, number, name):
        self._hold(name, f"hostname {name} && mount --bind {self.path}/hosts /etc/hosts && ip link set lo up")
        pids = {who: self._holders[who].pid for who in ("switch", name)}
        self.run("switch", f"ip link add p{number} type veth peer name eth0 netns {pids[name]}")
        self.run("switch", f"ip link set p{number} master switch up")
        self.run(name, f"ip address add {NETWORK}.{number}/24 dev eth0 && ip link set eth0 up")
        self.run(name, f"sysctl --quiet --write net.ipv4.tcp_retries2={TCP_RETRIES}")

    def inside(self, name):
        """What begins a command that runs on that host."""
        return ["nsenter", f"--target={self._holders[name].pid}", "--net", "--uts", "--mount"]

    def run(self, name, script, check=True):
        """The exit code of a line of shell on that host."""
        command = [*self.inside(name), "sh", "-c", script]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{name}: {script}: {done.stdout.decode()}")
        return done.returncode

    def command_line(self, arguments, slots):
        """The program under mpirun, which runs on the first host of `slots`, {name: number of ranks}."""
        hostfile = self.path / "slots"
        hostfile.write_text("".join(f"{name} slots={count}\n" for name, count in slots.items()), encoding="utf-8")
        parameters = {
            "plm_rsh_agent": self.path / "agent",
            "btl": "self,vader,tcp",
            "btl_tcp_if_include": f"{NETWORK}.0/24",
            "oob_tcp_if_include": f"{NETWORK}.0/24",
            "mpi_yield_when_idle": 1,
        }
        words = [word for key, value in parameters.items() for word in ("--mca", key, value)]
        return [*self.inside(next(iter(slots))), "mpirun", "--hostfile", hostfile, "--bind-to", "none", *words,
                program.PROGRAM, *arguments]  # fmt: skip

    def start(self, arguments, slots):
        """A process that is not waited for; its output goes to the pipe."""
        return subprocess.Popen(list(map(str, self.command_line(arguments, slots))), env=program.ENVIRONMENT,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)  # fmt: skip

    def processes(self, name):
        """The ranks on that host, and what started them."""
        network = os.readlink(f"/proc/{self._holders[name].pid}/ns/net")
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "ns" / "net") == network and int(entry.name) != self._holders[name].pid:
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def ranks(self, name):
        """Process ids of the program on that host."""
        found = []
        for pid in self.processes(name):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.path.samefile(f"/proc/{pid}/exe", program.PROGRAM):
                    found.append(pid)
        return found

    @contextlib.contextmanager
    def slowed(self, name, still, running):
        """The ranks on that host stand still for so many seconds, run for so many, stand still again, and so on."""
        pids, ends = self.ranks(name), threading.Event()

        def send(number):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.kill(pid, number)

        def alternate():
            while not ends.wait(still):
                send(signal.SIGCONT)
                ends.wait(running)
                send(signal.SIGSTOP)
            send(signal.SIGCONT)

        send(signal.SIGSTOP)
        thread = threading.Thread(target=alternate)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()
