"""Finds and announces archives of trees as Zero Install for .NET does, by multicast DNS. Standard library only.

A PTR question for `_0install-store._tcp.local` goes to 224.0.0.251, port 5353. The answer is a PTR record with the instance's
name, and beside it, in the additional section, that instance's SRV record and the address of its host. Then
`HEAD http://ADDRESS:PORT/DIGESTS.zip`, and if that is 200, `GET`.

usage: mdns_as_kin.py OWN_ADDRESS find ID TREE    prints where it was found, when all its files are as in TREE
       mdns_as_kin.py OWN_ADDRESS silent          fails when somebody answers
       mdns_as_kin.py OWN_ADDRESS serve PORT      answers for this machine
"""

import http.client
import io
import os
import socket
import struct
import sys
import time
import uuid
import zipfile

own, story = sys.argv[1:3]

GROUP, PORT = "224.0.0.251", 5353
SERVICE = ("_0install-store", "_tcp", "local")
A, PTR, SRV, IN, FLUSH = 1, 12, 33, 1, 0x8000
PATIENCE, SILENCE, AGAIN = 20, 4, 0.5


def open_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", PORT))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    membership = socket.inet_aton(GROUP) + socket.inet_aton(own)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


def spelled(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name)
    return labels + b"\0"


def read_name(message, at):
    """A name, and where it ends."""
    labels, end = [], None
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            continue
        label = message[at + 1 : at + 1 + message[at]]
        labels.append(label.decode())
        at += 1 + message[at]
    return tuple(labels), end or at + 1


def read(message):
    """Whether it answers; its questions; its answers; what is beside them."""
    _, flags, asked, *counts = struct.unpack_from(">6H", message)
    at, questions, sections = 12, [], []
    for _ in range(asked):
        name, at = read_name(message, at)
        questions.append((name, struct.unpack_from(">H", message, at)[0]))
        at += 4
    for count in counts:
        records = []
        for _ in range(count):
            name, at = read_name(message, at)
            kind, _, _, length = struct.unpack_from(">HHIH", message, at)
            at += 10
            data = message[at : at + length]
            if kind == PTR:
                data = read_name(message, at)[0]
            elif kind == SRV:
                data = (read_name(message, at + 6)[0], struct.unpack_from(">H", message, at + 4)[0])
            elif kind == A:
                data = socket.inet_ntoa(data)
            records.append((name, kind, data))
            at += length
        sections.append(records)
    return bool(flags & 0x8000), questions, sections[0], sections[2]


def ask(sock, patience):
    """Where a store is said to be; nothing if nobody says so."""
    question = struct.pack(">6H", 0, 0, 1, 0, 0, 0) + spelled(SERVICE) + struct.pack(">HH", PTR, IN)
    end, again = time.monotonic() + patience, 0
    while time.monotonic() < end:
        if time.monotonic() >= again:
            sock.sendto(question, (GROUP, PORT))
            again = time.monotonic() + AGAIN
        sock.settimeout(AGAIN)
        try:
            message, source = sock.recvfrom(9000)
        except TimeoutError:
            continue
        is_answer, _, answers, additional = read(message)
        for name, kind, instance in answers if is_answer else []:
            if (name, kind) != (SERVICE, PTR):
                continue
            assert instance[1:] == SERVICE, instance
            uuid.UUID(instance[0])
            # An announcement may have them among its answers.
            beside = additional or answers
            hosts = [data for name, kind, data in beside if (name, kind) == (instance, SRV)]
            assert hosts, (answers, additional)
            host, port = hosts[0]
            addresses = [data for name, kind, data in beside if (name, kind) == (host, A)]
            assert addresses == [source[0]], (addresses, source)
            return addresses[0], port
    return None


def request(place, method, path):
    connection = http.client.HTTPConnection(*place, timeout=PATIENCE)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, (method, path, response.status)
    return body


def find(tree_id, tree):
    place = ask(open_socket(), PATIENCE)
    assert place, "nobody answers"
    path = f"/sha1new=0123456789abcdef0123456789abcdef01234567,{tree_id}.zip"
    request(place, "HEAD", path)
    archive = zipfile.ZipFile(io.BytesIO(request(place, "GET", path)))
    count = 0
    for where, _, files in os.walk(tree):
        for file in files:
            file = os.path.join(where, file)
            if os.path.islink(file):
                continue
            with open(file, "rb") as source:
                assert archive.read(os.path.relpath(file, tree)) == source.read(), file
            count += 1
    assert count, "an empty tree shows nothing"
    print("%s:%d" % place)


def serve(port):
    instance = (str(uuid.uuid4()), *SERVICE)
    host = ("windows-machine", "local")
    sock = open_socket()

    def record(name, kind, flags, data):
        return spelled(name) + struct.pack(">HHIH", kind, IN | flags, 120, len(data)) + data

    answer = struct.pack(">6H", 0, 0x8400, 0, 1, 0, 2)
    answer += record(SERVICE, PTR, 0, spelled(instance))
    answer += record(instance, SRV, FLUSH, struct.pack(">3H", 0, 0, port) + spelled(host))
    answer += record(host, A, FLUSH, socket.inet_aton(own))
    print("ready", flush=True)
    while True:
        message, _ = sock.recvfrom(9000)
        is_answer, questions, _, _ = read(message)
        if not is_answer and (SERVICE, PTR) in questions:
            sock.sendto(answer, (GROUP, PORT))


if story == "find":
    find(*sys.argv[3:5])
elif story == "silent":
    place = ask(open_socket(), SILENCE)
    assert place is None, place
    print("nobody answers")
elif story == "serve":
    serve(int(sys.argv[3]))
