"""Serves a tree as 0share of 2008 and as Zero Install for .NET do, well or badly. Standard library only.

0share: replies to `0share` and ids, a line each, on UDP port 38339 with `0share-reply` and the ids that it has; gives
`/implementation/ID` on TCP port 38339 as tar.gz. Zero Install for .NET: gives `/DIGESTS.zip`, DIGESTS with commas between them.

usage: serve_as_kin.py TREE ID HOW
HOW: well, or what is wrong with the archives: another, climbing, absolute, link-out, twice, bomb, cut
"""

import base64
import http.server
import io
import os
import socket
import stat
import sys
import tarfile
import threading
import time
import zipfile

tree, tree_id, how = sys.argv[1:]
PORT = 38339
BOMB_BYTES = 1 << 30

# A program of 2008 knows the older name only.
same_id = "sha256=" + base64.b32decode(tree_id.removeprefix("sha256new_") + "====").hex()


def entries():
    """All that lies in the tree, parents first."""
    for where, directories, files in os.walk(tree):
        for name in sorted(directories) + sorted(files):
            path = os.path.join(where, name)
            yield os.path.relpath(path, tree), path


def wrong():
    """An entry that must not be: its name, and what it points at."""
    return {
        "climbing": ("../climbed", None),
        "absolute": ("/tmp/zeroshare-absolute", None),
        "link-out": ("out", "../../out"),
        "twice": ("share", None),
    }.get(how)


def write_tar(out):
    with tarfile.open(fileobj=out, mode="w|gz") as archive:
        for name, path in entries():
            archive.add(path, name, recursive=False)
        if how == "another":
            archive.addfile(tarfile.TarInfo("another"))
        if wrong():
            entry = tarfile.TarInfo(wrong()[0])
            if wrong()[1]:
                entry.type, entry.linkname = tarfile.SYMTYPE, wrong()[1]
            archive.addfile(entry)
        if how == "bomb":
            entry = tarfile.TarInfo("bomb")
            entry.size = BOMB_BYTES
            with open("/dev/zero", "rb") as zeros:
                archive.addfile(entry, zeros)


def write_zip(out):
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in entries():
            facts = os.lstat(path)
            entry = zipfile.ZipInfo(name, time.gmtime(facts.st_mtime)[:6])
            entry.create_system, entry.external_attr = 3, facts.st_mode << 16
            # Info-ZIP's exact time.
            entry.extra = b"UT\x05\x00\x01" + int(facts.st_mtime).to_bytes(4, "little")
            if stat.S_ISDIR(facts.st_mode):
                entry.filename += "/"
                archive.writestr(entry, b"")
            elif stat.S_ISLNK(facts.st_mode):
                archive.writestr(entry, os.readlink(path))
            else:
                with open(path, "rb") as source:
                    archive.writestr(entry, source.read(), zipfile.ZIP_DEFLATED)
        if how == "another":
            archive.writestr("another", b"")
        if wrong():
            entry = zipfile.ZipInfo(wrong()[0])
            if wrong()[1]:
                entry.create_system, entry.external_attr = 3, 0o120777 << 16
            archive.writestr(entry, wrong()[1] or b"")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        digests, _, extension = self.path.removeprefix("/").partition(".")
        if self.path == "/implementation/" + same_id:
            write = write_tar
        elif extension == "zip" and tree_id in digests.split(","):
            write = write_zip
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        try:
            if how == "cut":
                whole = io.BytesIO()
                write(whole)
                self.wfile.write(whole.getvalue()[:-100])
            else:
                write(self.wfile)
        except OSError:
            # Whoever reads has enough of it.
            pass

    def log_message(self, *_):
        pass


def reply():
    replier = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    replier.bind(("", PORT))
    while True:
        question, source = replier.recvfrom(1024)
        lines = question.decode().split("\n")
        if lines[0] == "0share" and same_id in lines[1:]:
            replier.sendto(("0share-reply\n" + same_id).encode(), source)


server = http.server.ThreadingHTTPServer(("", PORT), Handler)
threading.Thread(target=reply, daemon=True).start()
print("ready", flush=True)
server.serve_forever()
