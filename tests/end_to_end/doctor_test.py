"""`engram doctor` alone and under mpirun: what is well, and what is broken on purpose."""
import os
import pathlib
import shutil
import subprocess
import unittest

import program

UNAVAILABLE = 69
FAKE_NVML = pathlib.Path(program.SHIM).parent / "fake_nvml"


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


def findings(output):
    """{check: (verdict, text)} of the lines that doctor prints."""
    found = {}
    for line in output.splitlines():
        for verdict in ("ok", "FAILED", "not there"):
            if line.startswith(f"{verdict:<9}  "):
                check, _, text = line[11:].partition("  ")
                found[check.strip()] = (verdict, text.strip())
    return found


class Doctor(unittest.TestCase):
    def check_failed(self, run, check, pattern):
        code, output = run
        verdict, text = findings(output)[check]
        self.assertEqual(verdict, "FAILED", output)
        self.assertRegex(text, pattern)
        self.assertEqual(code, UNAVAILABLE, output)

    def doctor(self, *arguments, ranks=0, **environment):
        arguments = ("doctor", "--dir", corpus.path, *arguments)
        return program.run(arguments, ranks, dict(program.ENVIRONMENT, **environment))

    def in_shell(self, script):
        """The doctor started by a line of shell, where "$@" stands for it."""
        command = program.command_line(["doctor", "--dir", corpus.path])
        done = subprocess.run(["sh", "-c", script, "sh", *command], env=program.ENVIRONMENT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip
        return done.returncode, done.stdout

    def test_alone(self):
        before = sorted(corpus.path.iterdir())
        code, output = self.doctor(corpus.config)
        self.assertEqual(code, 0, output)
        found = findings(output)
        for check in ("HDF5", "OpenBLAS", "configuration", "run directory", "clocks", "open files", "shared memory"):
            self.assertEqual(found[check][0], "ok", output)
        self.assertEqual(found["MPI transport"][0], "not there")
        pattern = rf"^{corpus.path}: .* free, written at [0-9.]+[kMG]?B/s, a checkpoint takes .*B and [0-9]+s$"
        self.assertRegex(found["run directory"][1], pattern)
        self.assertEqual(sorted(corpus.path.iterdir()), before)

    def test_two_ranks(self):
        code, output = self.doctor(corpus.config, ranks=2)
        found = findings(output)
        self.assertEqual({check for check, (verdict, _) in found.items() if verdict == "FAILED"},
                         set() if len(os.sched_getaffinity(0)) > 1 else {"cores, ranks"}, output)  # fmt: skip
        self.assertEqual(code, 0 if len(os.sched_getaffinity(0)) > 1 else UNAVAILABLE, output)
        self.assertRegex(found["MPI transport"][1], rf"to rank 1 on {os.uname().nodename} by memory, [0-9.]+[kMG]?B/s")
        self.assertEqual(sum("MPI transport" in line for line in output.splitlines()), 1)

    def test_tcp_on_one_host(self):
        tcp = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": "lo"}
        self.check_failed(self.doctor(ranks=2, **tcp), "MPI transport",
                          "rank 0 reaches rank 1 on .*, its own host, by TCP instead of memory")  # fmt: skip

    def test_too_many_ranks(self):
        ranks = len(os.sched_getaffinity(0)) + 1
        self.check_failed(self.doctor(ranks=ranks), "cores, ranks", f"{ranks} ranks share {ranks - 1} cores")

    def test_bad_disk(self):
        for call, (first, code) in {"write": (0, 28), "fsync": (1, 5), "rename": (2, 30)}.items():
            shim = program.shim_environment(path=".engram-doctor.", first=first, errno=code)
            run = self.doctor(ranks=0, **shim)
            self.check_failed(run, "run directory", rf"{call}.* failed: {os.strerror(code)}.*name another directory")
        self.check_failed(program.run(("doctor", "--dir", "/proc")), "run directory", "/proc/.*open failed")

    def test_a_directory_that_will_be_made(self):
        code, output = program.run(("doctor", "--dir", corpus.path / "not" / "yet"))
        self.assertEqual(code, 0, output)
        self.assertIn(f"{corpus.path}: ", findings(output)["run directory"][1])

    def test_configuration_that_does_not_fit(self):
        self.check_failed(self.doctor(corpus.config, "--set", "parallel.table=2"), "configuration", "parallel.table")
        latent = ("--set", "model.attention.kind=mla", "--set", "model.attention.num_kv_heads=2")
        self.check_failed(self.doctor(corpus.config, *latent), "configuration", "mla")
        code, output = self.doctor(corpus.config, "--set", "parallel.tabel=2")
        self.assertEqual(code, 64, output)

    def test_few_open_files(self):
        self.check_failed(self.in_shell('ulimit -n 64; exec "$@"'), "open files", "64 may be open, wanted 260")

    def test_full_shared_memory(self):
        small = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
        probe = ["unshare", "--mount", "sh", "-c", small, "sh", "true"]
        if not shutil.which("unshare") or subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no mount namespaces here, or not root")
        self.check_failed(self.in_shell(f"exec unshare --mount sh -c '{small}' sh \"$@\""), "shared memory",
                          "1.0MB free in /dev/shm, wanted 16.8MB")  # fmt: skip

    def test_cards(self):
        if not FAKE_NVML.exists():
            self.skipTest(f"no {FAKE_NVML}: build the target engram_fake_nvml")
        libraries = ":".join(filter(None, (str(FAKE_NVML), os.environ.get("LD_LIBRARY_PATH"))))
        illnesses = {"ecc": "3 memory errors", "remap": "memory rows wait", "hot": "slowed", "lost": "GPU is lost"}
        for illness, pattern in illnesses.items():
            run = self.doctor(LD_LIBRARY_PATH=libraries, ENGRAM_FAKE_CARD=illness)
            self.check_failed(run, "cards", f"card 1.*: .*{pattern}")
        found = findings(self.doctor(LD_LIBRARY_PATH=libraries)[1])
        self.assertRegex(found["cards"][1], "NVML sees 2")
        self.assertEqual(found["cards"][0], "FAILED" if "CUDA none" in found["cards"][1] else "ok", found)
        found = findings(self.doctor(corpus.config, LD_LIBRARY_PATH=libraries, ENGRAM_FAKE_CARD="lost")[1])
        self.assertEqual(found["cards"], ("not there", "device: cpu"))


if __name__ == "__main__":
    unittest.main()
