"""fetch_corpus.py against a server of its own on this machine."""
import hashlib
import http.server
import io
import pathlib
import random
import sys
import tempfile
import threading
import unittest
from contextlib import redirect_stderr, redirect_stdout

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import fetch_corpus  # noqa: E402

TEXT = random.Random(0).randbytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves TEXT; what goes wrong is set on the server."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.knows_ranges else 0
        body = server.text[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(server.text) - 1}/{len(server.text)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.most_bytes is None else body[: server.most_bytes])

    def log_message(self, *_):
        pass


class FetchCorpus(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.text, self.server.knows_ranges, self.server.most_bytes, self.server.status = TEXT, True, None, None
        self.server.asked = []
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        directory = tempfile.TemporaryDirectory(prefix="engram_fetch_")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.path, self.part = self.directory / "text.txt", self.directory / "text.txt.part"
        url = f"http://127.0.0.1:{self.server.server_port}/text"
        self.entry = fetch_corpus.Entry(hashlib.sha256(TEXT).hexdigest(), len(TEXT), "text.txt", url)
        self.pauses = []

    def fetch(self):
        with redirect_stdout(io.StringIO()):
            return fetch_corpus.fetch(self.entry, self.directory, self.pauses.append)

    def check_fetched(self):
        self.assertEqual(self.fetch(), self.path)
        self.assertEqual(self.path.read_bytes(), TEXT)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["text.txt"])

    def check_refused(self, words):
        with self.assertRaises(fetch_corpus.Refusal) as caught:
            self.fetch()
        self.assertIn(words, str(caught.exception))
        self.assertFalse(self.path.exists())

    def test_fetches_once(self):
        self.check_fetched()
        self.check_fetched()
        self.assertEqual(self.server.asked, [None])

    def test_goes_on_where_a_connection_ended(self):
        self.server.most_bytes = 1_000_000
        self.check_fetched()
        self.assertEqual(self.server.asked, [None, "bytes=1000000-", "bytes=2000000-"])

    def test_goes_on_where_an_earlier_call_ended(self):
        self.part.write_bytes(TEXT[:1234567])
        self.check_fetched()
        self.assertEqual(self.server.asked, ["bytes=1234567-"])
        self.path.rename(self.part)
        self.check_fetched()
        self.assertEqual(len(self.server.asked), 1)

    def test_begins_anew_where_the_server_has_no_ranges(self):
        self.server.knows_ranges = False
        self.part.write_bytes(TEXT[:5])
        self.check_fetched()

    def test_begins_anew_behind_the_part_of_another_file(self):
        for part in (b"x" * 1000, TEXT + b"more", b"y" * len(TEXT)):
            self.part.write_bytes(part)
            self.check_fetched()
            self.path.unlink()

    def test_gives_up_without_progress_and_keeps_what_it_has(self):
        self.part.write_bytes(TEXT[:7])
        self.server.status = 503
        self.check_refused("7 of 3000000 bytes are kept, start again to go on")
        self.assertEqual(self.part.read_bytes(), TEXT[:7])
        self.assertEqual(len(self.server.asked), fetch_corpus.MOST_IDLE_TRIES)
        self.assertEqual(self.pauses, sorted(self.pauses))
        self.server.status = None
        self.check_fetched()

    def test_refuses_what_is_not_there(self):
        self.server.status = 404
        self.check_refused("/text: 404 Not Found")
        self.assertEqual(len(self.server.asked), 1)

    def test_refuses_another_text(self):
        self.server.text = TEXT[:-1] + b"?"
        self.check_refused(f"wanted {self.entry.digest}; not kept")
        self.assertFalse(self.part.exists())
        self.server.text = TEXT + b"more"
        self.check_refused("gives more than the 3000000 bytes")

    def test_replaces_no_file(self):
        self.path.write_bytes(b"mine")
        with self.assertRaisesRegex(fetch_corpus.Refusal, "is there with digest"):
            self.fetch()
        self.assertEqual(self.path.read_bytes(), b"mine")

    def test_the_command(self):
        manifest = self.directory / "a.manifest"
        manifest.write_text("# a corpus\n\n" + " ".join(map(str, self.entry)) + "\n", encoding="utf-8")
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            self.assertEqual(fetch_corpus.main([str(manifest), "--output", str(self.directory / "new" / "out")]), 0)
        self.assertEqual((self.directory / "new" / "out" / "text.txt").read_bytes(), TEXT)
        self.assertIn("text.txt: 3000000 bytes, digest is right", output.getvalue())
        for line in ("abc 1 a.txt http://x/", f"{'0' * 64} -1 a.txt http://x/", f"{'0' * 64} 1 ../a.txt http://x/",
                     f"{'0' * 64} 1 a.txt file:///etc/passwd", f"{'0' * 64} 1 a.txt", "#"):  # fmt: skip
            manifest.write_text(line + "\n", encoding="utf-8")
            with redirect_stdout(output), redirect_stderr(output):
                self.assertEqual(fetch_corpus.main([str(manifest), "--output", str(self.directory)]), 1)
            self.assertIn(f"{manifest}:1: wanted SHA-256" if line != "#" else "names no file", output.getvalue())

    def test_the_manifests_that_ship_are_well_formed(self):
        manifests = list((pathlib.Path(__file__).resolve().parents[2] / "data" / "corpora").glob("*.manifest"))
        self.assertGreaterEqual(len(manifests), 2)
        for manifest in manifests:
            fetch_corpus.read_manifest(manifest)


if __name__ == "__main__":
    unittest.main()
