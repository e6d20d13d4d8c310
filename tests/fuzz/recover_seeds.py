#!/usr/bin/python3
"""Writes the seeds of the recovery fuzzer: small directories in its patch format (recover.c)."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))

BLOCK = 4096
TWO, SALVAGE, REPAIR, LINK, FIRST_SEGMENT, SECOND_SEGMENT, BY_INDEX = 1, 2, 4, 8, 16, 32, 64
PUB, ACK, RQ, PURGE, QDEL, QSTATE, MANIFEST, INDEX, SEAL, DELIVERED, PART, CATALOG, SETTLED, RUNS = \
    1, 2, 3, 4, 5, 6, 9, 16, 17, 18, 19, 20, 21, 149
JOURNAL_AT, SEGMENT_AT = 2 * BLOCK, BLOCK

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def record(kind, targets=(), body=b"", head=b"", flags=0, message=0):
    bytes_ = b"".join(struct.pack("<%dQ" % len(target), *target) for target in targets) + head + body
    exact = 32 + len(bytes_)
    rest = struct.pack("<IBBHIQQ", exact, kind, flags, len(targets), len(head), message, 0) + bytes_
    rest += bytes(-(4 + len(rest)) % 8)
    return struct.pack("<I", crc32c(rest)) + rest


def header(kind, number=1, file_id=1, base=0, prev=(0, 0, 0), durable=0, released=0, shard=0, index=0):
    block = struct.pack("<IHBx16sH6xQQQQQQQQQI12x", 0x31465747, 1, kind, bytes(16), shard, number, file_id, base,
                        prev[0], prev[1], index, 0, durable, released, prev[2])
    block += bytes(BLOCK - 4 - len(block))
    return block + struct.pack("<I", crc32c(block))


class File:
    """A file's bytes, and the crc that its next frame has to name."""

    def __init__(self, first, at, base=0, file_id=1, shard=0):
        self.bytes = bytearray(first) + bytes(at - len(first))
        self.base, self.file_id, self.shard = base, file_id, shard
        self.prev = struct.unpack("<I", first[BLOCK - 4:BLOCK])[0]

    def frame(self, *records, durable=0, flags=0):
        body = 0
        for one in records:
            body = crc32c(one[:4], body)
        content = b"".join(records)
        size = -(-(64 + len(content)) // BLOCK) * BLOCK
        head = struct.pack("<IBBHQQQIIIIQI", 0x314A5747, 1, flags, self.shard, self.file_id,
                           self.base + len(self.bytes), durable, size, len(records), self.prev, body, 0, 0)
        self.prev = crc32c(head)
        frame = head + struct.pack("<I", self.prev) + content
        self.bytes += frame + bytes(size - len(frame))
        return self

    @property
    def end(self):
        return self.base + len(self.bytes)


def patches(data, blocks):
    """A file as its size and the pieces of it that are not zero."""
    out, at = bytes([blocks - 1]), 0
    while at < len(data):
        piece = bytes(data[at:at + 248])
        if any(piece):
            while not any(piece[:8]):
                piece, at = piece[8:], at + 8
            kept = piece.rstrip(b"\0")
            out += struct.pack("<HB", at // 8, len(kept)) + kept
        at += len(piece)
    return out + struct.pack("<HB", 0, 0)


def seed(flags, *files):
    whole = [bytes([flags | (TWO if len(files) == 2 else 0)])]
    for file in files:
        is_segment = file.bytes[6] == 2
        blocks = len(file.bytes) // BLOCK
        whole.append(patches(file.bytes, blocks if is_segment else max(blocks, 16)))
    return b"".join(whole)


def journal(number=1, base=0, **fields):
    first = header(1, number=number, file_id=number, base=base, **fields)
    mark = header(0, number=0, file_id=99)
    return File(first + mark, JOURNAL_AT, base=base, file_id=number)


def segment(number=1, file_id=77):
    return File(header(2, number=number, file_id=file_id), SEGMENT_AT, file_id=file_id)


def message(seq, body=b"hello"):
    return record(PUB, [(5, seq)], body, b"head", message=seq)


def bits(queue, seq, *words):
    return record(SETTLED, [(queue, seq)], struct.pack("<%dQ" % len(words), *words))


def all_types():
    return journal().frame(
        message(1), record(ACK, [(5, 1, 1)]), record(RQ, [(5, 2, 3)]), record(PURGE, [(5, 9)]),
        record(QDEL, [(6, 0)]), record(QSTATE, [(5, 1), (5, 1 << 56)], b"state"),
        record(MANIFEST), record(DELIVERED, [(5, 4096)]), bits(5, 64, 0x5555, 1 << 63),
        record(0x80, body=b"newer"))


def listing(*segments):
    body = b"".join(struct.pack("<QQ", number, file_id) for number, file_id in segments)
    return record(MANIFEST, body=body)


def catalog(released, *kept):
    body = b"".join(struct.pack("<QQQQ", number | 1 << 63, file_id, end, 0) for number, file_id, end in kept)
    return record(CATALOG, body=body, message=released)


def kept_file():
    """A journal file that was kept, and the chain that says so."""
    first = journal().frame(message(1), record(ACK, [(5, 1, 1)])).frame(message(2))
    second = journal(number=2, base=16 * BLOCK, prev=(1, first.end, first.prev), durable=first.end)
    return first, second.frame(catalog(1, (1, 1, first.end)))


def runs(*entries):
    return record(RUNS, body=b"".join(struct.pack("<QQQII", *entry) for entry in entries))


def indexed():
    """Two files of a chain, the first with an index, in which a message begins that the second ends."""
    first = journal().frame(message(1), message(2), record(PART, [(5, 3)], b"p" * 100))
    at = JOURNAL_AT + 64
    size, part = len(message(1)), len(record(PART, [(5, 3)], b"p" * 100))
    index = first.end
    first.frame(record(INDEX, body=bytes(48)), flags=2)
    first.frame(runs((5, 1, at, 2 * size, 2), (5, 3, at + 2 * size, part, 0)), record(ACK, [(5, 1, 1)]),
                record(DELIVERED, [(5, 4096)]), bits(5, 0, 2), listing((1, 77)), flags=6)
    second = journal(number=2, base=16 * BLOCK, prev=(1, first.end, first.prev), durable=first.end, index=index)
    pub = record(PUB, [(5, 3)], b"rest", flags=1, message=3)
    return first, second.frame(pub, listing(), durable=16 * BLOCK + JOURNAL_AT)


def indexed_segment():
    size = len(message(1))
    one = File(header(2, file_id=77, index=2 * BLOCK), SEGMENT_AT, file_id=77)
    one.frame(message(1), message(2))
    return one.frame(record(INDEX, body=bytes(48)), runs((5, 1, SEGMENT_AT + 64, 2 * size, 2)), flags=7)


def whole_segment():
    large = [record(PART, [(5, 2)], b"p" * 100, message=0), record(PART, [(5, 2)], b"q" * 5000, message=100)]
    pub = record(PUB, [(5, 2), (6, 1)], b"rest", flags=2, message=2)
    return segment().frame(message(1), *large).frame(pub).frame(record(INDEX, body=bytes(48)), flags=3)


def two_files():
    first = journal().frame(message(1)).frame(message(2), durable=BLOCK * 3).frame(record(SEAL), durable=4, flags=1)
    second = journal(number=2, base=16 * BLOCK, prev=(1, first.end, first.prev), durable=first.end)
    return first, second.frame(record(ACK, [(5, 1, 2)]), durable=16 * BLOCK + JOURNAL_AT)


def flipped(file, at):
    file.bytes[at] ^= 1
    return file


first, second = two_files()
SEEDS = {
    "all-types": seed(0, all_types()),
    "all-types-repaired": seed(REPAIR | LINK, all_types()),
    "two-files": seed(0, first, second),
    "released": seed(0, second, File(header(1) + header(0), JOURNAL_AT)),
    "witness": seed(SALVAGE, flipped(two_files()[0], JOURNAL_AT + 100), second),
    "index": seed(BY_INDEX, *indexed()),
    "index-repaired": seed(BY_INDEX | REPAIR, *indexed()),
    "index-damaged": seed(BY_INDEX, indexed()[0], flipped(indexed()[1], JOURNAL_AT + 70)),
    "index-segment": seed(BY_INDEX | REPAIR | SECOND_SEGMENT, journal().frame(listing((1, 77))), indexed_segment()),
    "kept": seed(0, *kept_file()),
    "kept-damaged": seed(SALVAGE, flipped(kept_file()[0], JOURNAL_AT + 100), kept_file()[1]),
    "kept-headless": seed(SALVAGE | LINK, flipped(kept_file()[0], 40), kept_file()[1]),
    "kept-given-up": seed(REPAIR, kept_file()[0], kept_file()[1].frame(catalog(1))),
    "torn": seed(0, flipped(journal().frame(message(1)).frame(message(2)), JOURNAL_AT + BLOCK + 70)),
    "headless": seed(SALVAGE, flipped(second, 40)),
    "segment": seed(SECOND_SEGMENT, journal().frame(listing((1, 77))), whole_segment()),
    "segment-repaired": seed(SECOND_SEGMENT | REPAIR | LINK | SALVAGE,
                             journal().frame(listing((1, 77), (2, 78))), whole_segment()),
    "segment-missing": seed(0, journal().frame(listing((1, 77)))),
    "segment-damaged": seed(SECOND_SEGMENT | SALVAGE, journal().frame(listing((1, 77))),
                            flipped(whole_segment(), SEGMENT_AT + 200)),
    "segment-not-listed": seed(SECOND_SEGMENT, journal().frame(listing((1, 77))).frame(listing()), whole_segment()),
    "segment-alone": seed(FIRST_SEGMENT | SALVAGE, whole_segment()),
    "segments-alone": seed(FIRST_SEGMENT | SECOND_SEGMENT | REPAIR, whole_segment(), segment(2, 78).frame(message(1))),
    "foreign": seed(REPAIR, flipped(journal(), 8)),
    "newer": seed(REPAIR, flipped(journal(), 4)),
    "empty": seed(0, File(bytes(BLOCK), BLOCK)),
}

if __name__ == "__main__":
    target = os.path.join(HERE, "corpus", "recover")
    os.makedirs(target, exist_ok=True)
    for name, data in SEEDS.items():
        with open(os.path.join(target, name), "wb") as file:
            file.write(data)
