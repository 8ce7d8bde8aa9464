"""The recipes of containers build as scripts/quickstart.sh does, for processors that may be others."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ELSEWHERE = " -DENGRAM_CPU_ARCH=x86-64-v3"


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def wanted_steps():
    """The commands of the quickstart that install and build, on CPUs."""
    script = read("scripts/quickstart.sh").replace("$preset", "cpu")
    install, configure, build = (re.search(pattern, script, re.M)[1] for pattern in (
        r"^(scripts/install_dependencies\.sh)$", r"(cmake --preset \S+ \S+)", r"^(cmake --build .*) -j "))  # fmt: skip
    return [install, configure + ELSEWHERE, build]


class ContainerRecipes(unittest.TestCase):
    def test_dockerfile(self):
        recipe = read("scripts/container/Dockerfile")
        self.assertEqual(re.findall(r"^RUN (.*)$", recipe, re.M), wanted_steps())

    def test_environment(self):
        settings = r"\bO[A-Z]+_\w+=\w+"  # of OpenMP, OpenBLAS and Open MPI
        everything = "\n".join(re.findall(r"^ *export .*$", read("scripts/environment.sh"), re.M))
        docker = re.search(r"^ENV ((?:.*\\\n)*.*)$", read("scripts/container/Dockerfile"), re.M)[1]
        apptainer = re.search(r"^%environment\n(.*?)\n\n%", read("scripts/container/engram.def"), re.M | re.S)[1]
        self.assertEqual(sorted(re.findall(settings, docker)), sorted(re.findall(settings, everything)))
        for setting in ("OPENBLAS_NUM_THREADS=1", "OMPI_MCA_btl_vader_single_copy_mechanism=none"):
            self.assertIn(setting, re.findall(settings, everything))
            self.assertIn(setting, re.findall(settings, apptainer))

    def test_apptainer(self):
        recipe = read("scripts/container/engram.def")
        post = re.search(r"^%post\n    (cd /opt/engram\n.*?)\n\n%", recipe, re.M | re.S)[1]
        self.assertEqual(post.split("\n    ")[1:], wanted_steps())

    def test_same_system_and_program(self):
        docker, apptainer = read("scripts/container/Dockerfile"), read("scripts/container/engram.def")
        self.assertEqual(re.search(r"^FROM (.*)$", docker, re.M)[1], re.search(r"^From: (.*)$", apptainer, re.M)[1])
        self.assertIn('ENTRYPOINT ["build/cpu/engram"]', docker)
        self.assertIn('exec /opt/engram/build/cpu/engram "$@"', apptainer)


if __name__ == "__main__":
    unittest.main()
