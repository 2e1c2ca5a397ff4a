"""Reads a tree as 0share's client of 2008 and as Zero Install for .NET do, and compares every byte. Standard library only.

0share: a datagram `0share` and ids, a line each, by broadcast to port 38339 from any port; whoever has some of them says
`0share-reply` and those, to that port; then `http://PEER:38339/implementation/ID` is a tar.gz of the tree.

Zero Install for .NET: `HEAD`, then `GET http://PEER:PORT/DIGESTS.tar.gz` (or .zip, .tar), DIGESTS with commas between them.

usage: read_as_kin.py DIRECTORY read ADDRESS ID TREE
       read_as_kin.py DIRECTORY refused|hung-up ADDRESS ID
"""

import base64
import http.client
import io
import os
import socket
import stat
import subprocess
import sys
import tarfile
import zipfile

directory, story, address, tree_id = sys.argv[1:5]

PORT = 38339
PATIENCE = 20
SILENCE = 2
OTHER = "sha1new=0123456789abcdef0123456789abcdef01234567"

digest = base64.b32decode(tree_id.removeprefix("sha256new_") + "====")
same_id = "sha256=" + digest.hex()


def question(ids):
    return ("0share\n" + "\n".join(ids)).encode()


def ask(ids, to, patience):
    """What is replied, and by whom; nothing if nobody replies."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    asker.settimeout(patience)
    asker.sendto(question(ids), (to, PORT))
    try:
        reply, source = asker.recvfrom(1024)
    except TimeoutError:
        return None
    assert len(reply) <= len(question(ids)) + 6, reply
    lines = reply.decode().split("\n")
    assert lines[0] == "0share-reply", reply
    assert source[0] == address, source
    return lines[1:]


def request(method, path):
    connection = http.client.HTTPConnection(address, PORT, timeout=PATIENCE)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def described(root):
    """All that a tree has, by path: modes, times, contents, targets."""
    found = {}
    for where, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(where, name)
            kind = os.lstat(path)
            if stat.S_ISLNK(kind.st_mode):
                what = ("link", os.readlink(path))
            elif stat.S_ISDIR(kind.st_mode):
                what = ("directory",)
            else:
                with open(path, "rb") as source:
                    what = ("file", bool(kind.st_mode & 0o111), int(kind.st_mtime), source.read())
            found[os.path.relpath(path, root)] = what
    return found


def unpacked(archive, extension, command):
    name = os.path.join(directory, "archive." + extension)
    root = name + ".unpacked"
    with open(name, "wb") as file:
        file.write(archive)
    os.mkdir(root)
    done = subprocess.run([*command, name], cwd=root, env={**os.environ, "TZ": "GMT"}, capture_output=True)
    assert done.returncode == 0 and not done.stderr, done
    return described(root)


def read():
    tree = described(sys.argv[5])
    assert any(what[0] == "link" for what in tree.values()), "links are the hard part"
    for to in ["255.255.255.255", "10.77.0.255"]:
        assert ask([tree_id, OTHER, same_id, "nonsense"], to, PATIENCE) == [tree_id, same_id]
    assert ask([OTHER], "255.255.255.255", SILENCE) is None

    for name in [tree_id, same_id]:
        status, archive = request("GET", "/implementation/" + name)
        assert status == 200, status
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            names = {member.name for member in opened}
        assert names == set(tree), names ^ set(tree)
    assert unpacked(archive, "tar.gz", ["tar", "-xzf"]) == tree
    assert request("GET", "/implementation/" + OTHER)[0] == 404

    digests = ",".join([OTHER, same_id, tree_id])
    for extension, command in [("zip", ["unzip", "-q"]), ("tar", ["tar", "-xf"])]:
        path = f"/{digests}.{extension}"
        assert request("HEAD", path) == (200, b"")
        status, archive = request("GET", path)
        assert status == 200, status
        assert unpacked(archive, extension, command) == tree, extension
    with zipfile.ZipFile(os.path.join(directory, "archive.zip")) as opened:
        assert opened.testzip() is None
        assert {name.rstrip("/") for name in opened.namelist()} == set(tree)
    assert request("HEAD", f"/{OTHER}.zip")[0] == 404
    assert request("POST", f"/{digests}.zip")[0] == 405


def refused():
    assert ask([tree_id], "255.255.255.255", SILENCE) is None
    for path in ["/implementation/" + tree_id, f"/{tree_id}.zip", f"/{tree_id}.tar.gz"]:
        for method in ["GET", "HEAD"]:
            assert request(method, path)[0] == 404, path


def hung_up():
    assert ask([tree_id], "255.255.255.255", SILENCE) is None
    for path in ["/implementation/" + tree_id, f"/{tree_id}.zip"]:
        try:
            answer = request("GET", path)
        except (OSError, http.client.HTTPException):
            continue
        raise AssertionError(f"answered: {answer}")


{"read": read, "refused": refused, "hung-up": hung_up}[story]()
print("done")
