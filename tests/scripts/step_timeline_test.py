"""scripts/step_timeline.py on a made-up trace: eight steps of 10 ms, of which the computing stream works for 9."""
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "step_timeline.py"
MATMUL = "_ZN6engram12_GLOBAL__N_16matmulIfEEvT_"
CONTROL = "_ZN6engram14control_kernelIdEEvNS_11StepControlIT_EE"


def step(begin):
    """Lines of a step, times in milliseconds: two waits, one while nothing is computed; a transfer, half hidden."""
    lines = [
        ("kernel", begin, begin + 8, 7, MATMUL),
        ("kernel", begin + 9, begin + 10, 7, CONTROL),
        ("kernel", begin + 7, begin + 9, 21, "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)"),
        ("copy", begin + 1, begin + 1.5, 13, "pinned to device"),
        ("wait", begin + 2, begin + 4, 13, "StreamSynchronize"),
        ("wait", begin + 8, begin + 9, 13, "StreamSynchronize"),
    ]
    return "".join(f"{kind}\t{first * 1e6:.0f}\t{last * 1e6:.0f}\t{where}\t{name}\n"
                   for kind, first, last, where, name in lines)


class Timeline(unittest.TestCase):
    def run_on(self, text):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "trace.0"
            path.write_text(text, encoding="utf-8")
            return subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)

    def test_what_is_hidden_and_who_waits(self):
        text = self.run_on("".join(step(10 * i) for i in range(8))).stdout
        self.assertIn("3 steps of 10.000 ms; stream 7 computes, 1.000 ms of a step it has nothing to do (10.00 %)",
                      text)
        self.assertRegex(text, r" 2\.0 +3\.000 +66\.7%  StreamSynchronize, stream 13")
        self.assertRegex(text, r" 1\.0 +2\.000 +50\.0%  ncclDevKernel_SendRecv.*, stream 21")
        self.assertRegex(text, r" 1\.0 +0\.500 +100\.0%  pinned to device, stream 13")
        self.assertEqual(len(re.findall(r"^ +8\.000 +9\.000  computing stream idle$", text, re.MULTILINE)), 1)

    def test_a_call_that_takes_memory_is_seen(self):
        call = "call\t65000000\t66000000\t4711\tcuMemAlloc_v2\n"
        text = self.run_on("".join(step(10 * i) for i in range(8)) + call).stdout
        self.assertRegex(text, r" 0\.3 +0\.333 +100\.0%  cuMemAlloc_v2, thread 4711")

    def test_too_few_steps(self):
        result = self.run_on(step(0))
        self.assertIn("1 steps; wanted at least 4", result.stderr)
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    unittest.main()
