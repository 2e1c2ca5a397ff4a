"""Reads a tree and a single file from a store with nothing but the contracts and an independent gRPC, and compares every byte.

usage: read_pieces.py PROTOCOLS ADDRESS TREE_ID TREE BLOB_ID FILE
"""

import base64
import hashlib
import os
import sys

import grpc

protocols, address, tree_id, tree, blob_id, file = sys.argv[1:]
sys.path.insert(0, protocols)
messages, services = grpc.protos_and_services("zeroshare/store/v1/store_service.proto")
ranges = grpc.protos("zeroshare/content/v1/content.proto")

DEADLINE = 60
GRAIN = 128 * 1024
MOST_DATA = 1024 * 1024
RAW = messages.STREAM_ENCODING_RAW

store = services.StoreServiceStub(grpc.insecure_channel(address))


def read(**request):
    """The head of an answer, its manifest, and each piece's header with the data."""
    head, manifest, pieces = None, b"", []
    for answer in store.ReadPieces(messages.ReadPiecesRequest(**request), timeout=DEADLINE):
        part = answer.WhichOneof("part")
        if part == "head":
            assert head is None, "one head"
            head = answer.head
        elif part == "manifest_data":
            assert head is not None and not pieces, "manifest after head, before pieces"
            manifest += answer.manifest_data
        elif part == "header":
            pieces.append((answer.header, bytearray()))
        else:
            assert part == "data" and len(answer.data) <= MOST_DATA, part
            pieces[-1][1].extend(answer.data)
    assert head.encoding == RAW, head
    assert len(manifest) in (0, head.manifest_size_bytes), head
    for header, data in pieces:
        assert len(data) == header.size_bytes, header
    return head, manifest, pieces


def refused(**request):
    try:
        list(store.ReadPieces(messages.ReadPiecesRequest(**request), timeout=DEADLINE))
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError(f"not refused: {request}")


def stat(content):
    (found,) = store.StatContent(messages.StatContentRequest(content_ids=[content]), timeout=DEADLINE).stats
    assert found.held_pieces == found.total_pieces > 1, found
    return found


def whole(content):
    return [messages.PieceSpan(first=0, count=stat(content).total_pieces)]


def piece_size(size):
    piece = GRAIN
    while piece * 2048 < size:
        piece *= 2
    return piece


def in_the_order_of_pieces(manifest):
    """The bytes of a tree as its pieces are numbered: links, small files, large ones, each content once."""
    directory, contents = "", {"S": {}, "F": {}}
    for line in manifest.decode().splitlines():
        kind, rest = line.split(" ", 1)
        if kind == "D":
            directory = rest.lstrip("/")
            continue
        words = rest.split(" ", 2 if kind == "S" else 3)
        path = os.path.join(tree, directory, words[-1])
        if int(words[-2]) > 0:
            contents["S" if kind == "S" else "F"].setdefault(words[0], path)
    links = [os.readlink(path).encode() for path in contents["S"].values()]
    files = []
    for digest, path in contents["F"].items():
        if digest not in contents["S"]:
            with open(path, "rb") as source:
                files.append(source.read())
    piece = piece_size(sum(map(len, links + files)))
    small = [data for data in files if len(data) <= piece]
    large = [data for data in files if len(data) > piece]
    assert small and large, "both kinds"
    return b"".join(links + small + large)


head, manifest, pieces = read(content_id=tree_id, spans=whole(tree_id), with_manifest=True)
assert head.manifest_size_bytes == len(manifest)
digest = base64.b32encode(hashlib.sha256(manifest).digest()).decode().rstrip("=")
assert tree_id == f"sha256new_{digest}", tree_id
assert [header.piece for header, _ in pieces] == list(range(len(pieces)))
assert b"".join(data for _, data in pieces) == in_the_order_of_pieces(manifest)
print(f"tree: {len(pieces)} pieces, {head.content_size_bytes} bytes")

with open(file, "rb") as source:
    content = source.read()
head, _, pieces = read(content_id=blob_id, spans=whole(blob_id))
assert head.file_name == os.path.basename(file).encode(), head
assert head.content_size_bytes == len(content) and b"".join(data for _, data in pieces) == content
assert all(len(header.list_digest) == 32 for header, _ in pieces), "slices are judged by a list"
print(f"blob: {len(pieces)} pieces, {len(content)} bytes")

# What the sender chooses: others each time, and none that is here.
have = [ranges.PieceRange(first=0, count=5)]
chosen = set()
for _ in range(2):
    _, _, pieces = read(content_id=blob_id, choose_at_most=3, have=have)
    numbers = {header.piece for header, _ in pieces}
    assert len(numbers) == 3 and not numbers & chosen and min(numbers) >= 5, numbers
    chosen |= numbers
    for header, data in pieces:
        start = header.piece * piece_size(len(content))
        assert data == content[start : start + len(data)], header

# A part of one piece.
part = messages.PieceSpan(first=2, count=1, skip_bytes=1000, limit_bytes=77)
_, _, ((header, data),) = read(content_id=blob_id, spans=[part])
start = 2 * piece_size(len(content)) + 1000
assert header.offset_bytes == 1000 and data == content[start : start + 77], header

# Whoever leaves midway may come back.
left = store.ReadPieces(messages.ReadPiecesRequest(content_id=blob_id, spans=whole(blob_id)), timeout=DEADLINE)
next(left)
left.cancel()
_, _, pieces = read(content_id=blob_id, spans=[messages.PieceSpan(first=0, count=1)])
assert pieces[0][1] == content[: len(pieces[0][1])]

unknown = "blob:sha256:" + hashlib.sha256(b"nobody has this").hexdigest()
assert refused(content_id=unknown, spans=[messages.PieceSpan(first=0, count=1)]) == grpc.StatusCode.NOT_FOUND
assert refused(content_id=blob_id, spans=[messages.PieceSpan(first=10**6, count=1)]) == grpc.StatusCode.INVALID_ARGUMENT
assert refused(content_id="nonsense") == grpc.StatusCode.INVALID_ARGUMENT
print("done")
