#!/usr/bin/python3
"""crowd: a client that says thousands of things at once and counts the answers."""
import select
import struct

from wire import METHOD, Client, content_frames, method_frame

SEND_BYTES = 1 << 18
WAIT_SECONDS_MAX = 120
# The answers that are counted: class and method id.
IDS = {"connection.close_ok": (10, 51), "channel.open_ok": (20, 11), "channel.close_ok": (20, 41),
       "queue.declare_ok": (50, 11), "queue.bind_ok": (50, 21), "queue.delete_ok": (50, 41),
       "basic.consume_ok": (60, 21), "basic.cancel_ok": (60, 31), "basic.cancel": (60, 30),
       "basic.deliver": (60, 60), "basic.recover_ok": (60, 111)}


class Crowd(Client):
    """A connection with channel 1 open."""

    def __init__(self, node):
        super().__init__(node.address, timeout=WAIT_SECONDS_MAX)
        self.channel()

    def ask(self, requests, **answers):
        """Sends frames, and waits for so many of each answer, named with _ for the dot. Sends and
        reads by turns, as the broker does: neither waits for the other."""
        left = {struct.pack(">HH", *IDS[name.replace("_", ".", 1)]): count
                for name, count in answers.items()}
        out, data = memoryview(b"".join(requests)), bytes(self.buffer)
        self.buffer.clear()
        self.socket.setblocking(False)
        while out or any(left.values()):
            readable, writable, _ = select.select([self.socket], [self.socket] if out else [], [],
                                                  WAIT_SECONDS_MAX)
            assert readable or writable, f"missing: {left}"
            if writable:
                out = out[self.socket.send(out[:SEND_BYTES]):]
            if readable:
                data = self.count(data + self.socket.recv(1 << 20), left)
        self.buffer += data
        self.socket.settimeout(WAIT_SECONDS_MAX)

    @staticmethod
    def count(data, left):
        """Takes whole frames off the data and counts down; gives the rest. What else comes, such as
        bodies and confirms, is read over."""
        at = 0
        while len(data) - at >= 8:
            size = int.from_bytes(data[at + 3:at + 7], "big") + 8
            if len(data) - at < size:
                break
            if data[at] == METHOD:
                ids = data[at + 7:at + 11]
                if ids in left:
                    left[ids] -= 1
                assert ids[2:] != b"\x00\x28" or ids[:2] != b"\x00\x14", data[at:at + size]
            at += size
        return data[at:]

    def each(self, method, items, **answers):
        """One method for each of the items, which are its fields."""
        self.ask((method_frame(1, method, **fields) for fields in items), **answers)


def messages(keys, body=b"x" * 16):
    """Frames that publish one message to each of these queues."""
    content = content_frames(1, body)
    return (method_frame(1, "basic.publish", routing_key=key) + content for key in keys)


def leave(client):
    """Closes in good order, whatever still comes: when this returns, the broker has let go of all
    that the connection held."""
    client.send(0, "connection.close", reply_code=200)
    client.ask([], connection_close_ok=1)
    client.close()
