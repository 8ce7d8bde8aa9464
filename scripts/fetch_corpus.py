#!/usr/bin/env python3
"""Fetches the files of a public corpus that a manifest names, and checks them.

  scripts/fetch_corpus.py data/corpora/tiny_stories.manifest --output runs/text

A line of a manifest is: SHA-256, number of bytes, file name, URL. Lines that begin with # are comments. A download that
was cut off goes on where it was, in this call or the next. A file appears under its name only when its digest is right;
another file is never replaced. Manifests of your own: `sha256sum` and `stat -c %s` of a copy that you trust.
"""
import argparse
import hashlib
import http.client
import os
import pathlib
import re
import sys
import time
import typing
import urllib.error
import urllib.request

MOST_IDLE_TRIES = 5  # without a single new byte
TIMEOUT = 60  # seconds without an answer
BLOCK = 1 << 20


class Refusal(Exception):
    """What the user is told; the program ends with 1."""


class Entry(typing.NamedTuple):
    digest: str
    size: int
    name: str
    url: str


def read_manifest(path):
    entries = []
    for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        good = (
            len(fields) == 4
            and re.fullmatch("[0-9a-f]{64}", fields[0])
            and re.fullmatch("[0-9]{1,18}", fields[1])
            and re.fullmatch("[A-Za-z0-9_-][A-Za-z0-9._-]*", fields[2])
            and re.match("https?://", fields[3])
        )
        if not good:
            raise Refusal(f"{path}:{number}: wanted SHA-256, number of bytes, file name, http(s) URL; got: {line}")
        entries.append(Entry(fields[0], int(fields[1]), fields[2], fields[3]))
    if not entries:
        raise Refusal(f"{path}: names no file")
    return entries


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def append(entry, part):
    """One request: appends to the part what the server gives, from where it ends. A server without ranges, or with a
    longer file, makes it begin anew."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(entry.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with open(part, "ab" if goes_on else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                if file.tell() > entry.size:
                    raise Refusal(f"{entry.url}: gives more than the {entry.size} bytes of the manifest")


def download(entry, part, pause):
    """Until the part has all its bytes."""
    idle = 0
    while (have := part.stat().st_size if part.exists() else 0) < entry.size:
        try:
            append(entry, part)
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise Refusal(f"{entry.url}: {error.code} {error.reason}") from error
            problem = str(error)
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        got = part.stat().st_size if part.exists() else 0
        idle = 0 if got > have else idle + 1
        if idle >= MOST_IDLE_TRIES:
            raise Refusal(f"{entry.url}: {problem}; {got} of {entry.size} bytes are kept, start again to go on")
        if got < entry.size:
            print(f"{entry.name}: {problem}, {got} of {entry.size} bytes; trying again", flush=True)
            pause(2**idle)


def fetch(entry, directory, pause=time.sleep):
    """The path of the file, fetched if it is not there."""
    path, part = directory / entry.name, directory / (entry.name + ".part")
    if path.exists():
        if (got := digest_of(path)) != entry.digest:
            raise Refusal(f"{path}: is there with digest {got}, wanted {entry.digest}; move it away to fetch it")
        return path
    if part.exists() and part.stat().st_size > entry.size:
        part.unlink()
    was_begun = part.exists()
    download(entry, part, pause)
    if (got := digest_of(part)) != entry.digest:
        part.unlink()
        if was_begun:  # perhaps the part of another file
            return fetch(entry, directory, pause)
        raise Refusal(f"{entry.url}: has digest {got}, wanted {entry.digest}; not kept")
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    part.rename(path)
    return path


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/text"), help="folder for the files")
    options = parser.parse_args(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        for entry in read_manifest(options.manifest):
            print(f"{fetch(entry, options.output)}: {entry.size} bytes, digest is right", flush=True)
    except (Refusal, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
