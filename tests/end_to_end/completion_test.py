"""The shells themselves complete verbs, options, keys and files by the scripts that the program writes."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import program


def setUpModule():
    global directory
    directory = pathlib.Path(tempfile.mkdtemp(prefix="engram_completion_"))
    unittest.addModuleCleanup(shutil.rmtree, directory)
    for shell in ("bash", "zsh", "fish"):
        (directory / shell).write_text(program.run_well(["completion", shell]), encoding="utf-8")
    (directory / "my.yaml").write_text("", encoding="utf-8")


def output_of(*command):
    environment = dict(os.environ, HOME=str(directory), PATH=os.environ["PATH"])
    done = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=program.TIME_LIMIT, check=False)  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.splitlines()


class Completion:
    """Each subclass says how its shell completes a line."""

    def words(self, line):
        return {word.split("\t")[0].strip() for word in self.complete(line)}

    def test_verbs(self):
        self.assertLessEqual({"train", "data", "report", "sweep", "completion"}, self.words("engram "))
        self.assertEqual(self.words("engram sweep pl"), {"plan"})
        self.assertEqual(self.words("engram completion "), {"bash", "zsh", "fish"})

    def test_options(self):
        self.assertEqual(self.words("engram data build --hold"), {"--holdout", "--holdout-output"})
        self.assertIn("--dry-run", self.words("engram train my.yaml --"))
        self.assertNotIn("--dry-run", self.words("engram eval --"))
        self.assertLessEqual({"--config", "--checkpoint", "--set"}, self.words("engram explain --"))

    def test_keys(self):
        self.assertEqual(self.words("engram train my.yaml --set run.se"), {"run.seed="})
        self.assertEqual(self.words("engram config explain logging.t"), {"logging.tensorboard"})

    def test_files(self):
        self.assertIn("my.yaml", self.words("engram train "))
        self.assertIn("my.yaml", self.words("engram eval --data "))


class Bash(Completion, unittest.TestCase):
    SCRIPT = """
        source ./bash; compopt() { :; }
        COMP_WORDS=($1); [[ $1 != *' ' ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _engram
        ((${#COMPREPLY[@]})) || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
        printf '%s\\n' "${COMPREPLY[@]}" """

    def complete(self, line):
        return output_of("bash", "-c", self.SCRIPT, "bash", line)


@unittest.skipUnless(shutil.which("fish"), "fish is not installed")
class Fish(Completion, unittest.TestCase):
    def complete(self, line):
        return output_of("fish", "--no-config", "-c", f"source ./fish; complete -C '{line}'")


@unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
class Zsh(Completion, unittest.TestCase):
    SCRIPT = """
        compdef() { :; }; source ./zsh
        _describe() {
          local name=$2
          for word in ${(P)name}; do [[ $word != $PREFIX* ]] || print -- "${word%%:*}$4"; done
        }
        _files() { print -l -- $PREFIX*; }
        words=(${(z)1}); [[ $1 != *' ' ]] || words+=(''); CURRENT=$#words; PREFIX=$words[CURRENT]; _engram"""

    def complete(self, line):
        return output_of("zsh", "-f", "-c", self.SCRIPT, "zsh", line)


if __name__ == "__main__":
    unittest.main()
