"""quickstart.sh --plan: where it would train on machines whose nvidia-smi and nvcc say this and that."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_GPU = "nvidia-smi lists no GPU, or CUDA_VISIBLE_DEVICES hides it"
ON_CPUS = ["cmake --preset cpu -DENGRAM_TESTS=OFF ",
           "mpirun -np 4 build/cpu/engram train configs/quickstart.yaml  "]  # fmt: skip


class Plan(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.tools = pathlib.Path(directory.name)

    def fake(self, name, *lines, exit_code=0):
        path = self.tools / name
        path.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {exit_code}\n")
        path.chmod(0o755)

    def machine(self, *capabilities, cuda="13.0"):
        self.fake("nvidia-smi", *capabilities)
        self.fake("nvcc", f"Cuda compilation tools, release {cuda}, V{cuda}.88")

    def run_script(self, *options, **environment):
        hidden = {name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "CUDACXX")}
        path = f"{self.tools}:/usr/bin:/bin"
        return subprocess.run([ROOT / "scripts/quickstart.sh", *options], capture_output=True, text=True,
                              env=hidden | {"PATH": path, "CUDA_HOME": "/nowhere"} | environment)  # fmt: skip

    def plan(self, *options, **environment):
        """The reason, and the commands."""
        run = self.run_script("--plan", *options, **environment)
        self.assertEqual(run.returncode, 0, run.stderr)
        reason, *commands = run.stdout.strip("\n").split("\n")
        return reason, commands

    def check_on_cpus(self, why, **environment):
        reason, commands = self.plan(**environment)
        self.assertRegex(reason, f"trains on CPUs.*{why}; ranks: 4$")
        self.assertEqual(commands, ON_CPUS)

    def check_on_gpus(self, num_ranks, architecture, **environment):
        reason, commands = self.plan("--set", "train.steps=9", **environment)
        self.assertRegex(reason, f"trains on GPUs: .* is of CUDA 13; ranks: {num_ranks}$")
        self.assertEqual(commands, [
            f"cmake --preset cuda -DENGRAM_TESTS=OFF -DCMAKE_CUDA_ARCHITECTURES={architecture}",
            f"mpirun -np {num_ranks} build/cuda/engram train configs/quickstart.yaml --set device=cuda "
            f"--set train.micro_batch={8 // num_ranks} --set train.steps=9"])  # fmt: skip

    def test_without_a_driver(self):
        self.fake("nvidia-smi", exit_code=127)
        self.check_on_cpus(NO_GPU)
        self.fake("nvidia-smi", "NVIDIA-SMI has failed because it could not talk to the driver", exit_code=9)
        self.check_on_cpus(NO_GPU)
        self.fake("nvidia-smi", "No devices were found", exit_code=6)
        self.check_on_cpus(NO_GPU)

    def test_without_a_compiler_for_the_card(self):
        self.machine("9.0", cuda="12.9")
        self.check_on_cpus("is 12; wanted 13 or newer")
        (self.tools / "nvcc").unlink()
        if not pathlib.Path("/usr/bin/nvcc").exists():
            self.check_on_cpus("is none; wanted 13 or newer")
        self.machine("7.5")
        self.check_on_cpus("compute capability 7.5; wanted 8.0 or newer")

    def test_a_rank_on_each_card_as_far_as_a_step_has_sequences(self):
        for num_cards, num_ranks in {1: 1, 2: 2, 3: 2, 4: 4, 8: 8, 16: 8}.items():
            self.machine(*["9.0"] * num_cards)
            self.check_on_gpus(num_ranks, "90a")

    def test_is_built_for_the_card(self):
        for capability, architecture in {"8.0": "80", "8.9": "89", "9.0": "90a", "10.0": "100", "12.0": "120"}.items():
            self.machine(capability)
            self.check_on_gpus(1, architecture)

    def test_takes_cards_of_one_kind(self):
        self.machine("9.0", "7.5", "9.0")
        self.check_on_cpus("have compute capabilities 7.5, 9.0; wanted one for all")

    def test_takes_the_cards_that_a_program_sees(self):
        self.machine("9.0", "9.0", "9.0", "9.0")
        self.check_on_gpus(2, "90a", CUDA_VISIBLE_DEVICES="1,3")
        self.check_on_gpus(2, "90a", CUDA_VISIBLE_DEVICES="GPU-8932f937,MIG-0e7fc2bd")
        self.check_on_gpus(1, "90a", CUDA_VISIBLE_DEVICES="2,-1,3")
        for hidden in ("", "-1", "NoDevFiles"):
            self.check_on_cpus(NO_GPU, CUDA_VISIBLE_DEVICES=hidden)

    def test_only_says_wherever_the_option_stands(self):
        self.machine("9.0")
        options = ("--set", "train.steps=9")
        self.assertEqual(self.plan(*options, "--plan")[1], self.plan(*options)[1])  # the first: never to train here

    def test_refuses_what_it_does_not_know(self):
        for options, words in (
            (("--plam",), "unknown option --plam; known: --plan, --set, --help"),
            (("--set", "train.steps=9", "train.seed=1"), "unknown option train.seed=1; known: --plan, --set, --help"),
            (("--set",), '--set is followed by ""; wanted KEY=VALUE'),
            (("--set", "--plan"), '--set is followed by "--plan"; wanted KEY=VALUE'),
        ):
            run = self.run_script("--plan", *options)
            self.assertEqual((run.returncode, run.stderr), (1, f"quickstart.sh: {words}\n"))


if __name__ == "__main__":
    unittest.main()
