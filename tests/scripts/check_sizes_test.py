"""check_sizes.py measures functions as a reader would, and finds everything that is too long."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import check_sizes  # noqa: E402
import cpp_functions  # noqa: E402


def spans(text):
    return [(f.name, f.first_line, f.last_line) for f in cpp_functions.functions(text)]


def function_of(num_lines, head="void f()", comment=""):
    return f"{comment}{head} {{\n" + "  g();\n" * (num_lines - 2) + "}\n"


class FindsFunctions(unittest.TestCase):
    def test_in_namespaces_classes_and_extern_blocks(self):
        text = ('namespace a::b {\nclass C final : public D {\n public:\n  int f() const { return 1; }\n\n'
                '  C(int x) : x_{x}, y_(2) {\n    g();\n  }\n private:\n  int x_{0};\n};\n'
                'extern "C" {\nvoid h();\nvoid i() {\n}\n}\n}\n')
        self.assertEqual(spans(text), [("f", 4, 4), ("C", 6, 8), ("i", 14, 15)])

    def test_head_from_template_to_trailing_return(self):
        text = ("template <class T, int N = (1 > 2)>\n__global__ void __launch_bounds__(256)\nk(View<T, 2> a) {\n}\n"
                "auto g(std::map<int, int> m, Options o = {}) -> std::vector<int> {\n  return {1};\n}\n"
                "bool operator==(const A& a, const A& b) { return a.x == b.x; }\nA::~A() {\n}\n")
        found = cpp_functions.functions(text)
        self.assertEqual([(f.name, f.first_line, f.last_line) for f in found][:2], [("k", 1, 4), ("g", 5, 7)])
        self.assertTrue(found[0].is_kernel and not found[1].is_kernel)
        self.assertEqual(found[1].parameters, ["std::map<int, int> m", "Options o = {}"])
        self.assertEqual([f.first_line for f in found[2:]], [8, 9])

    def test_not_in_comments_strings_macros_and_initialisers(self):
        text = ('// void a() {\n/* void b() { */\nconst char* s = "void c() {";\n#define D() \\\n  void d() {\n'
                "constexpr int e[] = {1, 2};\nconst auto f = R\"(\n} void f() {\n)\";\nchar g = '{';\n"
                "enum class H { kA };\nvoid i() {\n  const auto inner = [](int x) { return x; };\n"
                "  struct L {\n    int m() { return 0; }\n  };\n}\n")
        self.assertEqual(spans(text), [("i", 12, 17)])

    def test_digit_separators_do_not_open_a_character(self):
        self.assertEqual(spans("int a = 1'000'000;\nvoid f() {\n}\n"), [("f", 2, 3)])


class FindsWhatIsTooLong(unittest.TestCase):
    def found(self, text, name="a.cpp"):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "kernels" / name
            path.parent.mkdir()
            path.write_text(text, encoding="utf-8")
            return check_sizes.check(pathlib.Path(directory))

    def test_functions(self):
        self.assertEqual(self.found(function_of(45)), [])
        self.assertEqual(self.found("\n" + function_of(46)), ["kernels/a.cpp:2: f has 46 lines; at most 45"])
        self.assertEqual(self.found(function_of(120, "__global__ void k()")), [])
        self.assertIn("at most 120", self.found(function_of(121, "__global__ void k()"))[0])

    def test_a_reason_excuses_a_long_function_and_only_that(self):
        why = "// Long because the table is one thought.\n"
        self.assertEqual(self.found(function_of(60, comment="// What it does.\n" + why)), [])
        self.assertEqual(self.found("void f() {\n  " + why + "  g();\n" * 60 + "}\n"), [])
        self.assertEqual(len(self.found(function_of(60, comment="// Long because\n"))), 1)
        self.assertEqual(len(self.found(function_of(60, comment="// Long.\n"))), 1)
        self.assertEqual(len(self.found(function_of(3, comment=why) + function_of(60))), 1)

    def test_parameters_but_streams_and_tensors(self):
        many = ", ".join(f"int p{i}" for i in range(5))
        self.assertEqual(self.found(f"void f(Stream& s, const Tensor& x, {many}) {{}}\n"), [])
        wrong = self.found(f"void f({many}, int q) {{}}\n")
        self.assertEqual(wrong, ["kernels/a.cpp:1: f has 6 parameters; at most 5"])

    def test_files_lines_and_includes(self):
        self.assertEqual(self.found("\n" * 400), [])
        self.assertEqual(self.found("\n" * 401), ["kernels/a.cpp:1: the file has 401 lines; at most 400"])
        self.assertEqual(self.found("\n" * 251, "a.cu"), ["kernels/a.cu:1: the file has 251 lines; at most 250"])
        self.assertEqual(self.found("\n" * 900, "a.inc"), [])
        self.assertEqual(self.found("// Long because it is a list.\n" + "\n" * 401), [])
        self.assertEqual(self.found("// Ä" + "x" * 116), [])
        self.assertIn("121 characters", self.found("//" + "x" * 119)[0])
        self.assertEqual(self.found("#include <a>\n" * 8, "a.h"), [])
        self.assertEqual(self.found("#include <a>\n" * 9), [])
        self.assertIn("9 includes", self.found("#include <a>\n" * 9, "a.h")[0])

    def test_scripts_and_pages(self):
        self.assertIn("f has 46 lines", self.found("def f():\n" + "    pass\n" * 45, "a.py")[0])
        self.assertIn("61 lines; at most 60", self.found("\n" * 61, "README.md")[0])


if __name__ == "__main__":
    unittest.main()
