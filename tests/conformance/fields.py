"""fields: the AMQP 0-9-1 data types and the table of methods, both ways between bytes and Python.

A field table is a dict. A plain Python value picks its usual type (str S, int I or l, bool t,
float d, dict F, list A, None V, bytes x); Typed("u", 5) picks any other. decode_table() gives plain
values, decode_table(..., typed=True) gives Typed ones, for tests that care.
"""
import collections
import struct

Typed = collections.namedtuple("Typed", "type value")

# Letters: o octet, h short, l long, q longlong, s short string, S long string, b bit, F table.
METHODS_TEXT = """
10.10  connection.start version_major:o version_minor:o server_properties:F mechanisms:S locales:S
10.11  connection.start_ok client_properties:F mechanism:s response:S locale:s
10.20  connection.secure challenge:S
10.21  connection.secure_ok response:S
10.30  connection.tune channel_max:h frame_max:l heartbeat:h
10.31  connection.tune_ok channel_max:h frame_max:l heartbeat:h
10.40  connection.open virtual_host:s reserved_1:s reserved_2:b
10.41  connection.open_ok reserved_1:s
10.50  connection.close reply_code:h reply_text:s class_id:h method_id:h
10.51  connection.close_ok
10.60  connection.blocked reason:s
10.61  connection.unblocked
10.70  connection.update_secret new_secret:S reason:s
10.71  connection.update_secret_ok
20.10  channel.open reserved_1:s
20.11  channel.open_ok reserved_1:S
20.20  channel.flow active:b
20.21  channel.flow_ok active:b
20.40  channel.close reply_code:h reply_text:s class_id:h method_id:h
20.41  channel.close_ok
30.10  access.request realm:s exclusive:b passive:b active:b write:b read:b
30.11  access.request_ok ticket:h
40.10  exchange.declare ticket:h exchange:s type:s passive:b durable:b auto_delete:b internal:b \
nowait:b arguments:F
40.11  exchange.declare_ok
40.20  exchange.delete ticket:h exchange:s if_unused:b nowait:b
40.21  exchange.delete_ok
40.30  exchange.bind ticket:h destination:s source:s routing_key:s nowait:b arguments:F
40.31  exchange.bind_ok
40.40  exchange.unbind ticket:h destination:s source:s routing_key:s nowait:b arguments:F
40.51  exchange.unbind_ok
50.10  queue.declare ticket:h queue:s passive:b durable:b exclusive:b auto_delete:b nowait:b \
arguments:F
50.11  queue.declare_ok queue:s message_count:l consumer_count:l
50.20  queue.bind ticket:h queue:s exchange:s routing_key:s nowait:b arguments:F
50.21  queue.bind_ok
50.30  queue.purge ticket:h queue:s nowait:b
50.31  queue.purge_ok message_count:l
50.40  queue.delete ticket:h queue:s if_unused:b if_empty:b nowait:b
50.41  queue.delete_ok message_count:l
50.50  queue.unbind ticket:h queue:s exchange:s routing_key:s arguments:F
50.51  queue.unbind_ok
60.10  basic.qos prefetch_size:l prefetch_count:h global_:b
60.11  basic.qos_ok
60.20  basic.consume ticket:h queue:s consumer_tag:s no_local:b no_ack:b exclusive:b nowait:b \
arguments:F
60.21  basic.consume_ok consumer_tag:s
60.30  basic.cancel consumer_tag:s nowait:b
60.31  basic.cancel_ok consumer_tag:s
60.40  basic.publish ticket:h exchange:s routing_key:s mandatory:b immediate:b
60.50  basic.return reply_code:h reply_text:s exchange:s routing_key:s
60.60  basic.deliver consumer_tag:s delivery_tag:q redelivered:b exchange:s routing_key:s
60.70  basic.get ticket:h queue:s no_ack:b
60.71  basic.get_ok delivery_tag:q redelivered:b exchange:s routing_key:s message_count:l
60.72  basic.get_empty reserved_1:s
60.80  basic.ack delivery_tag:q multiple:b
60.90  basic.reject delivery_tag:q requeue:b
60.100 basic.recover_async requeue:b
60.110 basic.recover requeue:b
60.111 basic.recover_ok
60.120 basic.nack delivery_tag:q multiple:b requeue:b
85.10  confirm.select nowait:b
85.11  confirm.select_ok
90.10  tx.select
90.11  tx.select_ok
90.20  tx.commit
90.21  tx.commit_ok
90.30  tx.rollback
90.31  tx.rollback_ok
"""

# Properties of a content header, from bit 15 of the flags downwards.
PROPERTIES = [
    ("content_type", "s"), ("content_encoding", "s"), ("headers", "F"), ("delivery_mode", "o"),
    ("priority", "o"), ("correlation_id", "s"), ("reply_to", "s"), ("expiration", "s"),
    ("message_id", "s"), ("timestamp", "q"), ("type", "s"), ("user_id", "s"), ("app_id", "s"),
    ("cluster_id", "s"),
]

FIXED = {"o": ">B", "h": ">H", "l": ">I", "q": ">Q"}
FIXED_IN_TABLES = {"t": ">?", "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I",
                   "l": ">q", "L": ">q", "f": ">f", "d": ">d", "T": ">Q"}


def parse_methods(text):
    by_name, by_id = {}, {}
    for line in text.strip().splitlines():
        ids, name, *fields = line.split()
        key = tuple(map(int, ids.split(".")))
        by_name[name] = key, [tuple(f.split(":")) for f in fields]
        by_id[key] = name
    return by_name, by_id


METHODS, METHOD_NAMES = parse_methods(METHODS_TEXT)


def to_bytes(value):
    return value if isinstance(value, bytes) else value.encode()


def short_string(value):
    data = to_bytes(value)
    return struct.pack(">B", len(data)) + data


def long_string(value):
    data = to_bytes(value)
    return struct.pack(">I", len(data)) + data


def table(value):
    """A dict, or a list of pairs where keys repeat, or bytes that are sent as they are."""
    if isinstance(value, bytes):
        return long_string(value)
    pairs = value.items() if isinstance(value, dict) else value
    return long_string(b"".join(short_string(k) + table_value(v) for k, v in pairs))


def guess_type(value):
    if value is None:
        return "V"
    for kind, letter in ((bool, "t"), (float, "d"), (str, "S"), (bytes, "x"), (dict, "F"),
                         (list, "A")):
        if isinstance(value, kind):
            return letter
    return "I" if -2**31 <= value < 2**31 else "l"


def table_value(value):
    letter, value = value if isinstance(value, Typed) else (guess_type(value), value)
    if letter in FIXED_IN_TABLES:
        data = struct.pack(FIXED_IN_TABLES[letter], value)
    elif letter in "Sx":
        data = long_string(value)
    elif letter == "F":
        data = table(value)
    elif letter == "A":
        data = long_string(b"".join(map(table_value, value)))
    elif letter == "D":
        data = struct.pack(">BI", *value)
    else:
        data = b"" if letter == "V" else to_bytes(value)
    return letter.encode() + data


class Reader:
    """A cursor over received bytes; reading past the end raises struct.error."""

    def __init__(self, data):
        self.data, self.at, self.bits_left, self.bits = data, 0, 0, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise struct.error("truncated")
        self.at += count
        return self.data[self.at - count:self.at]

    def fixed(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def bit(self):
        if not self.bits_left:
            self.bits, self.bits_left = self.fixed(">B"), 8
        self.bits_left -= 1
        value, self.bits = bool(self.bits & 1), self.bits >> 1
        return value

    def field(self, letter):
        if letter == "b":
            return self.bit()
        self.bits_left = 0
        if letter in FIXED:
            return self.fixed(FIXED[letter])
        if letter == "F":
            return self.table()
        data = self.take(self.fixed(">B" if letter == "s" else ">I"))
        return data.decode("utf-8", "surrogateescape")

    def table(self, typed=False):
        inner = Reader(self.take(self.fixed(">I")))
        result = {}
        while inner.at < len(inner.data):
            key = inner.field("s")
            result[key] = inner.table_value(typed)
        return result

    def table_value(self, typed=False):
        letter = chr(self.fixed(">B"))
        if letter in FIXED_IN_TABLES:
            value = self.fixed(FIXED_IN_TABLES[letter])
        elif letter == "S":
            value = self.field("S")
        elif letter == "x":
            value = self.take(self.fixed(">I"))
        elif letter == "F":
            value = self.table(typed)
        elif letter == "A":
            inner, value = Reader(self.take(self.fixed(">I"))), []
            while inner.at < len(inner.data):
                value.append(inner.table_value(typed))
        elif letter == "D":
            value = self.fixed(">B"), self.fixed(">I")
        elif letter == "V":
            value = None
        else:
            raise struct.error(f"field type {letter!r}")
        return Typed(letter, value) if typed else value


def decode_table(data, typed=False):
    return Reader(data).table(typed)


def encode_fields(fields, values):
    """Fields in wire order; those not given are zero, empty or false. Bits share octets."""
    unknown = set(values) - {name for name, _ in fields}
    if unknown:
        raise TypeError(f"no such field: {unknown}")
    out, bits, bit_count = bytearray(), 0, 0
    for name, letter in fields:
        value = values.get(name)
        if letter == "b":
            bits |= bool(value) << bit_count
            bit_count += 1
            continue
        if bit_count:
            out.append(bits)
            bits = bit_count = 0
        if letter in FIXED:
            out += struct.pack(FIXED[letter], value or 0)
        elif letter == "F":
            out += table(value or {})
        else:
            out += (short_string if letter == "s" else long_string)(value or "")
    if bit_count:
        out.append(bits)
    return bytes(out)


def encode_method(name, **values):
    ids, fields = METHODS[name]
    return struct.pack(">HH", *ids) + encode_fields(fields, values)


def decode_method(payload):
    """Name and dict of fields of a method frame's payload, which must be used up exactly."""
    reader = Reader(payload)
    name = METHOD_NAMES[reader.fixed(">H"), reader.fixed(">H")]
    values = {field: reader.field(letter) for field, letter in METHODS[name][1]}
    assert reader.at == len(payload), f"{name}: {len(payload) - reader.at} bytes too many"
    return name, values


def encode_properties(properties):
    """The flags and the list of properties, as in a content header after the body size."""
    flags, out = 0, b""
    for bit, (name, letter) in enumerate(PROPERTIES):
        if name in properties:
            flags |= 1 << (15 - bit)
            out += encode_fields([(name, letter)], {name: properties[name]})
    return struct.pack(">H", flags) + out


def decode_properties(data):
    reader = Reader(data)
    flags, result = reader.fixed(">H"), {}
    for bit, (name, letter) in enumerate(PROPERTIES):
        if flags & 1 << (15 - bit):
            result[name] = reader.field(letter)
    assert reader.at == len(data) and not flags & 3, "unexpected bytes after the properties"
    return result
