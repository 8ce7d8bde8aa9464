"""check_layers.py finds every kind of wrong include and nothing else."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import check_layers  # noqa: E402


class CheckLayers(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        for folder in check_layers.MAY_INCLUDE:
            self.write(f"{folder}/a.h", "#pragma once\n")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def found(self, path, text):
        self.write(path, text)
        return check_layers.check(self.root)

    def test_the_table_decides_for_every_pair_of_folders(self):
        for source, allowed in check_layers.MAY_INCLUDE.items():
            for target in check_layers.MAY_INCLUDE:
                wrong = self.found(f"{source}/b.cpp", f'#include <vector>\n#include "{target}/a.h"\n')
                if target in allowed:
                    self.assertEqual(wrong, [])
                else:
                    self.assertEqual(len(wrong), 1)
                    self.assertTrue(wrong[0].startswith(f"{source}/b.cpp:2: {source}/ may not include {target}/"))
            (self.root / source / "b.cpp").unlink()

    def test_data_and_model_never_meet(self):
        self.assertNotIn("data", check_layers.MAY_INCLUDE["model"])
        self.assertNotIn("model", check_layers.MAY_INCLUDE["data"])

    def test_libraries_stay_in_their_folder(self):
        home = {"mpi.h": "parallel", "nccl.h": "parallel", "cuda_runtime.h": "kernels", "cub/cub.cuh": "kernels",
                "cblas.h": "kernels", "hdf5.h": "data", "H5public.h": "data", "yaml-cpp/yaml.h": "trainer",
                "CLI/CLI.hpp": "trainer", "gtest/gtest.h": "tests"}
        for header, folder in home.items():
            self.assertEqual(self.found(f"{folder}/deep/b.h", f"#include <{header}>\n"), [])
            (self.root / folder / "deep/b.h").unlink()
            self.assertEqual(self.found("tests/b.cpp", f"#include <{header}>\n"), [])
            other = "data" if folder == "kernels" else "kernels"
            wrong = self.found(f"{other}/b.cu", f"  #  include <{header}>\n")
            self.assertEqual(wrong, [f"{other}/b.cu:1: <{header}> may be included below {folder}/ only"])
            (self.root / other / "b.cu").unlink()

    def test_headers_are_named_from_the_root_and_exist(self):
        self.assertIn('"a.h" is not a path from the root', self.found("kernels/b.cpp", '#include "a.h"\n')[0])
        self.assertIn("is not a path from the root", self.found("kernels/b.cpp", '#include "../data/a.h"\n')[0])
        self.assertIn('"kernels/no.h" does not exist', self.found("kernels/b.cpp", '#include "kernels/no.h"\n')[0])


if __name__ == "__main__":
    unittest.main()
