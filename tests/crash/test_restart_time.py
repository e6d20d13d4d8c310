"""A million messages are there again within a second of the start, after a kill."""
import os
import time

from bulk import Publisher, take_all
from link import Link

MESSAGES = int(os.environ.get("GODWIT_RESTART_MESSAGES", "1000000"))
RESTART_SECONDS_MAX = 1.0
QUEUE = "restart"


def test_restart_time(make_server, tmp_path, request, capsys):
    server = make_server(tmp_path)
    server.start()
    declare(server)
    began = time.monotonic()
    Publisher(server.address, QUEUE).publish(MESSAGES)
    published = time.monotonic() - began
    server.kill()
    restart = server.start()
    link = Link(server.address)
    assert link.channel().count(QUEUE) == MESSAGES
    link.disconnect()
    began = time.monotonic()
    take_all(server.address, QUEUE, MESSAGES)
    taken = time.monotonic() - began
    with capsys.disabled():
        print(f"\n{MESSAGES} persistent messages of 100 bytes: published and confirmed in "
              f"{published:.1f} s, accepts {restart:.3f} s after the start that followed a kill, "
              f"taken in {taken:.1f} s")
    if request.config.getoption("--nightly"):
        assert restart < RESTART_SECONDS_MAX


def declare(server):
    link = Link(server.address)
    link.channel().call("queue.declare", queue=QUEUE, durable=True)
    link.disconnect()
