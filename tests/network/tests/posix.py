"""Prints what a program sees of a tree of files, a fact a line: of two trees that are alike the same lines.

Usage: posix.py DIRECTORY. Neither owners nor times of directories and links are told, which are no part of a tree.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import random
import stat
import subprocess
import sys
import threading

PAGE = 64 * 1024
ROOT = sys.argv[1]


def outcome(action):
    """What an action gives, or the name of its error."""
    try:
        return action()
    except OSError as error:
        return errno.errorcode[error.errno]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def by_read(path):
    with open(path, "rb", buffering=0) as file:
        parts = []
        while part := file.read(PAGE + 1):
            parts.append(part)
    return digest(b"".join(parts))


def by_mmap(path, access):
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return "empty"
        with mmap.mmap(file.fileno(), 0, access=access) as mapped:
            last_first = mapped[-1:] + mapped[:1]
            return digest(last_first + mapped[:])


def by_sendfile(path):
    out = os.memfd_create("copy")
    file = os.open(path, os.O_RDONLY)
    while os.sendfile(out, file, None, 1 << 20):
        pass
    size = os.lseek(out, 0, os.SEEK_CUR)
    data = os.pread(out, size + 1, 0)
    os.close(file)
    os.close(out)
    return digest(data)


def by_splice(path):
    """Through a pipe, as cat of some systems does."""
    read, write = os.pipe()
    file = os.open(path, os.O_RDONLY)
    data = b""
    while count := os.splice(file, write, PAGE):
        while count:
            part = os.read(read, count)
            data += part
            count -= len(part)
    for handle in (file, read, write):
        os.close(handle)
    return digest(data)


def by_many(path, size):
    """Threads that read ranges of one handle, all at once."""
    file = os.open(path, os.O_RDONLY)
    seen = [None] * 8

    def read(number):
        ranges = random.Random(number)
        found = hashlib.sha256()
        for _ in range(40):
            found.update(os.pread(file, ranges.randrange(1, 3 * PAGE), ranges.randrange(size + 1)))
        seen[number] = found.hexdigest()

    threads = [threading.Thread(target=read, args=[number]) for number in range(len(seen))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(file)
    return " ".join(seen)


def at_odd_places(path, size):
    file = os.open(path, os.O_RDONLY)
    seen = []
    for offset in (0, 1, 4095, 4096, size - 1, size, size + 1, size + PAGE):
        if offset >= 0:
            seen.append(digest(os.pread(file, 4097, offset))[:8])
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for offset in (0, size - 1, size):
            if offset >= 0:
                seen.append(str(outcome(lambda: os.lseek(file, offset, whence))))
    seen.append(str(outcome(lambda: os.lseek(file, 0, os.SEEK_END))))
    seen.append(str(outcome(lambda: fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB))))
    seen.append(str(outcome(lambda: os.write(file, b"x"))))
    os.close(file)
    return " ".join(seen)


def attributes(path):
    names = outcome(lambda: os.listxattr(path, follow_symlinks=False))
    kinds = ("user.mime_type", "security.capability", "system.posix_acl_access", "trusted.none")
    values = [outcome(lambda: os.getxattr(path, kind, follow_symlinks=False)) for kind in kinds]
    return f"{names} {values}"


def facts(path, entry):
    found = os.lstat(path)
    yield "stat", f"{stat.filemode(found.st_mode)} {found.st_nlink} same inode: {entry is None or entry.inode() == found.st_ino}"
    yield "attributes", attributes(path)
    for name, mode in (("readable", os.R_OK), ("a program", os.X_OK)):
        yield name, outcome(lambda: os.access(path, mode))
    if stat.S_ISLNK(found.st_mode):
        yield "target", f"{os.readlink(path)} {found.st_size}"
        yield "behind it", outcome(lambda: stat.filemode(os.stat(path).st_mode))
        yield "opened as itself", outcome(lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        return
    yield "through it", outcome(lambda: os.stat(os.path.join(path, "nothing")))
    yield "a long name", outcome(lambda: os.stat(os.path.join(path, "x" * 256)))
    yield "made anew", outcome(lambda: os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL))
    if stat.S_ISDIR(found.st_mode):
        yield "opened to write", outcome(lambda: os.open(path, os.O_RDWR))
        yield "read", outcome(lambda: os.read(os.open(path, os.O_RDONLY), 1))
        return
    size = found.st_size
    # Of its manifest the time is no part of a tree.
    yield "file", f"{size} {found.st_mtime_ns if path != './.manifest' else ''}"
    yield "opened as a directory", outcome(lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    yield "read", by_read(path)
    yield "shared mapping", by_mmap(path, mmap.ACCESS_READ)
    yield "private mapping", by_mmap(path, mmap.ACCESS_COPY)
    yield "sendfile", by_sendfile(path)
    yield "splice", by_splice(path)
    yield "many readers", by_many(path, size)
    yield "odd places", at_odd_places(path, size)
    if found.st_mode & stat.S_IXUSR and size < PAGE:
        ran = subprocess.run([os.path.join(ROOT, path)], capture_output=True, check=False, cwd="/")
        yield "run", f"{ran.returncode} {ran.stdout} {ran.stderr}"


def tell(path, entry=None):
    for name, value in facts(path, entry):
        print(f"{path}: {name}: {value}")
    if os.path.isdir(path) and not os.path.islink(path):
        for below in sorted(os.scandir(path), key=lambda below: below.name):
            print(f"{below.path}: a directory: {below.is_dir(follow_symlinks=False)}, a link: {below.is_symlink()}")
            tell(below.path, below)


os.chdir(ROOT)
tell(".")
