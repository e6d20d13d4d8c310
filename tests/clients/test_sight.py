#!/usr/bin/python3
"""What people and programs see of the broker: health, lists and metrics over HTTP, godwitctl."""
import json
import os
import re
import socket
import urllib.parse

import pika
import pytest

from patience import until
from sight import Sight


@pytest.fixture
def sight(broker):
    if not broker.is_ours:
        pytest.skip("looks at the HTTP interface of a broker of our own")
    return Sight(broker.process)


def by_name(rows):
    return {row["name"]: row for row in rows}


# ---- health and rights ----

def test_health_needs_no_login(sight):
    status, _, body = sight.request("/health", user=None)
    assert (status, body) == (200, b"ok\n")


@pytest.mark.parametrize("check", ["alarms", "local-alarms", "virtual-hosts",
                                   "node-is-quorum-critical"])
def test_health_checks(sight, check):
    assert sight.get(f"/api/health/checks/{check}") == {"status": "ok"}


@pytest.mark.parametrize("user, password", [(None, None), ("guest", "wrong"), ("nobody", "guest"),
                                            ("", ""), ("guest", "")])
def test_api_needs_a_login(sight, user, password):
    status, headers, body = sight.request("/api/overview", user=user, password=password)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic")
    assert json.loads(body)["error"] == "not_authorized"


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/queues/nowhere",
                                  "/api/queues/%2F/nothing", "/api/exchanges/%2F/nothing",
                                  "/api/vhosts/nowhere", "/api/nodes/nothing",
                                  "/a/b/c/d/e/f/g/h/i/j/k", "/metrics"])
def test_what_is_not_there_is_404(sight, path):
    status, _, body = sight.request(path)
    assert status == 404
    assert json.loads(body) == {"error": "Object Not Found", "reason": "Not Found"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_reading_is_all_there_is(sight, method):
    status, headers, _ = sight.request("/api/queues", method=method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_memory_alarm_is_bad_health(start_broker, monkeypatch):
    # What is freed shall be given back, as it is without a sanitizer.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
                       ":allocator_release_to_os_interval_ms=0")
    broker = start_broker("vm_memory_high_watermark.absolute = 256MiB\n")
    if broker.process.binary.parent.name == "tsan":
        pytest.skip("the sanitizer keeps what it noted of freed memory: the alarm would not end")
    sight = Sight(broker.process)
    assert sight.request("/health", user=None)[0] == 200
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    full = [f"full{number}" for number in range(10)]  # so many that nothing of it is spilled
    for queue in full:
        channel.queue_declare(queue)
        channel.queue_bind(queue, "amq.fanout")
    for _ in range(3000):  # until the broker reads no more: pika would wait for ever
        if sight.request("/health", user=None)[0] == 503:
            break
        channel.basic_publish("amq.fanout", "", b"x" * 100_000)
    until(lambda: sight.request("/health", user=None)[0] == 503,
          lambda slice_s: connection.process_data_events(slice_s), what="the alarm")
    status, _, body = sight.request("/api/health/checks/alarms")
    assert status == 503
    answer = json.loads(body)
    assert answer["status"] == "failed"
    assert [alarm["resource"] for alarm in answer["alarms"]] == ["memory"]
    assert sight.metrics()["rabbitmq_alarms_memory_used_watermark"] == 1
    assert sight.get("/api/nodes")[0]["mem_alarm"] is True
    assert sight.ctl("status")[1].count("Memory alarm") == 1
    states = [row["state"] for row in sight.get("/api/connections")]
    assert states == ["blocked"]
    with pika.BlockingConnection(broker.parameters()) as other:
        for queue in full:
            other.channel().queue_purge(queue)
    until(lambda: sight.request("/health", user=None)[0] == 200,
          lambda slice_s: connection.process_data_events(slice_s), what="the alarm's end")
    assert sight.get("/api/health/checks/alarms") == {"status": "ok"}
    connection.close()


# ---- lists ----

def test_queue_counts_are_true(sight, channel, names):
    name = names.queue("counts")
    channel.queue_declare(name, durable=True, arguments={"x-max-length": 10, "x-other": "text"})
    for _ in range(5):
        channel.basic_publish("", name, b"hello")
    tag = channel.basic_get(name)[0].delivery_tag
    row = sight.queue(name)
    assert row["messages"] == 5
    assert row["messages_ready"] == 4
    assert row["messages_unacknowledged"] == 1
    assert row["message_bytes"] == 25
    assert (row["durable"], row["auto_delete"], row["exclusive"]) == (True, False, False)
    assert row["arguments"] == {"x-max-length": 10, "x-other": "text"}
    assert (row["vhost"], row["state"], row["consumers"]) == ("/", "running", 0)
    channel.basic_ack(tag)
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume(name, lambda *_: None)
    channel.queue_declare(name, passive=True)
    row = sight.queue(name)
    assert (row["messages"], row["messages_ready"], row["messages_unacknowledged"]) == (4, 2, 2)
    assert row["consumers"] == 1


@pytest.mark.parametrize("suffix", ["a/b", "with space", "100%", "question?mark", "dots/../up",
                                    "plus+plus", "h\u00e4\u00dflich", "quote\"back\\slash", "tab\there"])
def test_any_name_has_a_path(sight, channel, names, suffix):
    name = names.queue() + suffix
    names.queues.append(name)
    channel.queue_declare(name)
    assert sight.queue(name)["name"] == name
    assert name in by_name(sight.get("/api/queues/%2F"))


def test_exclusive_queue_is_listed_and_goes(sight, connect):
    connection = connect()
    name = connection.channel().queue_declare("", exclusive=True).method.queue
    row = sight.queue(name)
    assert (row["exclusive"], row["durable"]) == (True, False)
    connection.close()
    until(lambda: sight.request(f"/api/queues/%2F/{name}")[0] == 404, what="the queue's end")


def test_exchanges_and_bindings(sight, channel, names):
    queue, source, other = names.queue(), names.exchange("source"), names.exchange("other")
    channel.queue_declare(queue)
    channel.exchange_declare(source, "topic", auto_delete=False, arguments={"x-note": 7})
    channel.exchange_declare(other, "fanout", internal=True)
    channel.queue_bind(queue, source, "a.#", arguments={"deep": {"list": [1, True, "x"]}})
    channel.exchange_bind(other, source, "b.*")
    row = sight.get(f"/api/exchanges/%2F/{source}")
    assert (row["type"], row["durable"], row["internal"]) == ("topic", False, False)
    assert row["arguments"] == {"x-note": 7}
    assert sight.get(f"/api/exchanges/%2F/{other}")["internal"] is True
    assert sight.get("/api/exchanges/%2F/amq.default")["name"] == ""
    listed = by_name(sight.get("/api/exchanges"))
    assert {"", "amq.topic", "amq.direct", source, other} <= set(listed)
    bindings = sight.get(f"/api/exchanges/%2F/{source}/bindings/source")
    found = {(b["destination_type"], b["destination"], b["routing_key"]) for b in bindings}
    assert found == {("queue", queue, "a.#"), ("exchange", other, "b.*")}
    assert sight.get(f"/api/exchanges/%2F/{other}/bindings/destination") == [
        {"source": source, "vhost": "/", "destination": other, "destination_type": "exchange",
         "routing_key": "b.*", "arguments": {}, "properties_key": "b.*"}]
    mine = sight.get(f"/api/queues/%2F/{queue}/bindings")
    assert {(b["source"], b["routing_key"]) for b in mine} == {("", queue), (source, "a.#")}
    assert [b["arguments"] for b in mine if b["source"]] == [{"deep": {"list": [1, True, "x"]}}]
    everything = sight.get("/api/bindings/%2F")
    assert all(b in everything for b in bindings + mine)


def test_connections_come_and_go(sight, connect):
    before = sight.get("/api/connections")
    connection = connect(client_properties={"connection_name": "seen from outside"})
    channel = connection.channel()
    connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, lambda *_: None)
    rows = [row for row in sight.get("/api/connections")
            if row["user_provided_name"] == "seen from outside"]
    assert len(rows) == 1
    assert (rows[0]["user"], rows[0]["vhost"], rows[0]["state"]) == ("guest", "/", "running")
    assert (rows[0]["channels"], rows[0]["consumers"]) == (2, 1)
    assert (rows[0]["peer_host"], rows[0]["protocol"]) == ("127.0.0.1", "AMQP 0-9-1")
    connection.close()
    until(lambda: len(sight.get("/api/connections")) == len(before), what="the connection's end")


def test_overview_adds_up(sight, channel, names):
    before = sight.get("/api/overview")
    name = names.queue()
    channel.queue_declare(name)
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", name, b"x")
    after = sight.get("/api/overview")
    assert after["object_totals"]["queues"] == before["object_totals"]["queues"] + 1
    assert after["queue_totals"]["messages"] == before["queue_totals"]["messages"] + 3
    assert after["message_stats"]["publish"] == before["message_stats"]["publish"] + 3
    assert after["message_stats"]["confirm"] == before["message_stats"]["confirm"] + 3
    assert after["object_totals"]["channels"] >= 1
    node = sight.get("/api/nodes/" + after["node"])
    assert node["running"] is True and node["uptime"] > 0 and node["mem_used"] > 1_000_000
    assert node["name"] == after["node"]


def test_pages_filters_and_columns(sight, channel, names):
    part = names.queue("paged")
    for i in range(25):
        names.queues.append(f"{part}.{i}")
        channel.queue_declare(f"{part}.{i}")
    seen = []
    for page in range(1, 5):
        answer = sight.get(f"/api/queues/%2F?name={part}&page={page}&page_size=10&columns=name,type")
        assert (answer["page"], answer["page_size"], answer["page_count"]) == (page, 10, 3)
        assert answer["filtered_count"] == 25 and answer["total_count"] >= 25
        assert answer["item_count"] == len(answer["items"])
        assert all(set(row) == {"name", "type"} for row in answer["items"])
        seen += [row["name"] for row in answer["items"]]
    assert sorted(seen) == sorted(f"{part}.{i}" for i in range(25))
    assert len(sight.get(f"/api/queues?name={part}")) == 25
    for query in ("page=0", "page=x", "page=1&page_size=501", "name=x&use_regex=true"):
        assert sight.request(f"/api/queues?{query}")[0] == 400, query


def test_a_long_list_is_complete(sight, channel, names):
    part = names.queue("long")
    arguments = {f"x-argument-{i}": "v" * 200 for i in range(5)}
    for i in range(1500):
        names.queues.append(f"{part}.{i}")
        channel.queue_declare(f"{part}.{i}", arguments=arguments)
    status, headers, body = sight.request("/api/queues")
    assert status == 200 and headers["Transfer-Encoding"] == "chunked"
    listed = [row["name"] for row in json.loads(body) if row["name"].startswith(part)]
    assert sorted(listed) == sorted(f"{part}.{i}" for i in range(1500))
    bound = [b for b in sight.get("/api/bindings") if b["destination"].startswith(part)]
    assert len(bound) == 1500
    status, out, _ = sight.ctl("-q", "list_queues", "name", "arguments")
    assert status == 0
    assert sum(line.startswith(part) for line in out.splitlines()) == 1500


# ---- metrics ----

def test_metrics_are_prometheus_text(sight):
    _, _, body = sight.request("/metrics", sight.process.metrics_port, user=None)
    described, seen = {}, set()
    for line in body.decode().splitlines():
        if line.startswith("# HELP "):
            name, text = line[7:].split(" ", 1)
            assert text and name not in described
            described[name] = None
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert described[name] is None and kind in ("counter", "gauge", "histogram",
                                                       "untyped")
            described[name] = kind
        else:
            sample = line.rsplit(" ", 1)[0]
            name = re.sub("_(bucket|sum|count)$", "", sample.split("{")[0])
            if described.get(name) != "histogram":
                name = sample.split("{")[0]
            assert described[name] and sample not in seen
            assert described[name] != "counter" or name.endswith("_total")
            seen |= {name, sample}
            float(line.rsplit(" ", 1)[1])
    assert {name for name in seen if name in described} == set(described)
    assert {"rabbitmq_build_info", "rabbitmq_identity_info", "rabbitmq_connections",
            "rabbitmq_channels", "rabbitmq_queues", "rabbitmq_consumers",
            "rabbitmq_queue_messages_ready", "rabbitmq_queue_messages_unacked",
            "rabbitmq_process_resident_memory_bytes",
            "rabbitmq_resident_memory_limit_bytes"} <= seen


def test_every_turn_of_every_loop_is_timed(sight):
    before = sight.metrics()
    after = sight.metrics()
    counts = 0
    for shard in range(int(after["godwit_shards"])):
        turns = f"godwit_loop_turn_seconds_%s{{shard=\"{shard}\"%s}}"
        buckets = [value for name, value in after.items()
                   if name.startswith(turns.split("%s")[0] + f"bucket{{shard=\"{shard}\"")]
        assert len(buckets) > 10 and buckets == sorted(buckets)
        assert buckets[-1] == after[turns % ("count", "")]
        # The loop was asked for the figures before, and has been busy for that.
        assert after[turns % ("sum", "")] > before[turns % ("sum", "")]
        counts += buckets[-1]
    # Figures are read one after the other, while one turn is under way or another one ends.
    assert abs(after["godwit_loop_turns_total"] - counts) <= 4 * after["godwit_shards"]


def test_metrics_follow_what_happens(sight, connect, names):
    before = sight.metrics()
    connection = connect()
    channel = connection.channel()
    name = names.queue()
    channel.queue_declare(name)
    for _ in range(7):
        channel.basic_publish("", name, b"abc")
    channel.basic_get(name)
    channel.basic_consume(name, lambda *_: None, auto_ack=False)
    channel.basic_cancel(channel.consumer_tags[0])
    after = sight.metrics()

    def moved(metric):
        return after[metric] - before[metric]

    assert moved("rabbitmq_connections") == 1
    assert moved("rabbitmq_channels") == 1
    assert moved("rabbitmq_queues") == 1
    assert moved("rabbitmq_queue_messages") == 7
    assert moved("rabbitmq_queue_messages_bytes") == 21
    assert moved("rabbitmq_queue_messages_unacked") >= 1
    assert moved("rabbitmq_global_messages_received_total") == 7
    assert moved("rabbitmq_connections_opened_total") == 1
    assert after["rabbitmq_process_open_fds"] <= after["rabbitmq_process_max_fds"]


# ---- HTTP itself ----

def converse(sight, data, until_closed=True):
    """Sends bytes as they are; all that comes back."""
    with socket.create_connection(("127.0.0.1", sight.process.management_port), 30) as raw:
        raw.sendall(data)
        received = b""
        while until_closed or b"ok\n" not in received:
            part = raw.recv(65536)
            if not part:
                break
            received += part
        return received


@pytest.mark.parametrize("data, status", [
    (b"\x00\x01\x02\n\n", 400),
    (b"AMQP\x00\x00\x09\x01\r\n\r\n", 400),
    (b"GET /health\r\n\r\n", 400),
    (b"GET health HTTP/1.1\r\n\r\n", 400),
    (b"GET /health HTTP/2.0\r\n\r\n", 400),
    (b"GET /%zz HTTP/1.1\r\n\r\n", 400),
    (b"GET /%2 HTTP/1.1\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
    (b"GET /health HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
    (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 431),
    (b"GET /health HTTP/1.1\r\nA: " + b"b" * 20000 + b"\r\n\r\n", 431),
    (b"GET /health HTTP/1.0\r\n\r\n", 200),
    (b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
    (b"POST /health HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
])
def test_odd_requests_are_answered_and_closed(sight, data, status):
    received = converse(sight, data)
    assert received.startswith(b"HTTP/1.1 %d " % status), received
    assert received.count(b"HTTP/1.1 ") == 1


def test_several_requests_at_once(sight):
    one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert converse(sight, one * 5 + last).count(b"HTTP/1.1 200 OK") == 6


def test_head_has_no_body(sight):
    received = converse(sight, b"HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n")
    head, body = received.split(b"\r\n\r\n", 1)
    assert b"Content-Length: 3" in head and body == b""


def test_a_request_may_come_in_pieces(sight):
    with socket.create_connection(("127.0.0.1", sight.process.management_port), 30) as slow:
        for byte in b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n":
            slow.sendall(bytes([byte]))
            if byte == ord(" "):
                assert sight.request("/health", user=None)[0] == 200
        received = b""
        while part := slow.recv(4096):
            received += part
    assert received.endswith(b"ok\n")


def test_who_does_not_read_holds_nobody_up(sight, channel, names):
    part = names.queue("unread")
    for i in range(400):
        names.queues.append(f"{part}.{i}")
        channel.queue_declare(f"{part}.{i}", arguments={"x-filler": "f" * 20000})
    login = b"Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n"
    request = b"GET /api/queues HTTP/1.1\r\n" + login + b"Connection: close\r\n\r\n"
    lazy = []
    for _ in range(8):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(60)
        raw.connect(("127.0.0.1", sight.process.management_port))
        raw.sendall(request)
        lazy.append(raw)
    assert sight.metrics()["rabbitmq_queues"] >= 400
    assert sight.queue(f"{part}.7")["messages"] == 0
    received = b""
    while data := lazy[0].recv(1 << 20):
        received += data
    assert received.endswith(b"0\r\n\r\n") and received.count(b"f" * 20000) >= 390
    for raw in lazy:
        raw.close()


# ---- godwitctl ----

def test_ctl_lists_queues_as_rabbitmqctl(sight, channel, names):
    name = names.queue("ctl")
    channel.queue_declare(name, arguments={"x-max-length": 5})
    channel.basic_publish("", name, b"x")
    status, out, err = sight.ctl("list_queues", "name", "messages", "consumers", "arguments")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[:3] == ["Timeout: 60.0 seconds ...", "Listing queues for vhost / ...",
                         "name\tmessages\tconsumers\targuments"]
    assert f"{name}\t1\t0\t[{{\"x-max-length\",5}}]" in lines[3:]
    assert sight.ctl("-q", "list_queues")[1].splitlines()[0] == "name\tmessages"
    assert f"{name}\t1" in sight.ctl("--silent", "list_queues")[1].splitlines()
    assert "name\tmessages" not in sight.ctl("--silent", "list_queues")[1]
    rows = json.loads(sight.ctl("list_queues", "--formatter", "json", "name", "messages")[1])
    assert {"name": name, "messages": 1} in rows


def test_ctl_lists_the_rest(sight, channel, names):
    queue, exchange = names.queue(), names.exchange()
    channel.queue_declare(queue)
    channel.exchange_declare(exchange, "topic")
    channel.queue_bind(queue, exchange, "key")
    exchanges = sight.ctl("-s", "list_exchanges")[1].splitlines()
    assert {f"{exchange}\ttopic", "\tdirect", "amq.topic\ttopic"} <= set(exchanges)
    bindings = sight.ctl("-s", "list_bindings")[1].splitlines()
    assert f"{exchange}\texchange\t{queue}\tqueue\tkey\t[]" in bindings
    assert f"\texchange\t{queue}\tqueue\t{queue}\t[]" in bindings
    connections = sight.ctl("-s", "list_connections", "user", "state")[1].splitlines()
    assert "guest\trunning" in connections
    assert sight.ctl("-s", "list_vhosts")[1] == "/\n"


def test_ctl_status(sight, channel, names):
    name = names.queue()
    channel.queue_declare(name)
    status, out, _ = sight.ctl("status")
    assert status == 0
    assert f"OS PID: {sight.process.process.pid}" in out.splitlines()
    assert any(line.startswith("Queue count: ") for line in out.splitlines())
    facts = json.loads(sight.ctl("status", "--formatter", "json")[1])
    assert facts["object_totals"]["queues"] >= 1


@pytest.mark.parametrize("words, status, complaint", [
    ([], 2, "no command"),
    (["list_queue"], 2, "unknown command 'list_queue'"),
    (["list_queues", "nam"], 2, "no column 'nam'"),
    (["--frobnicate", "status"], 2, "unknown option '--frobnicate'"),
    (["--timeout", "soon", "status"], 2, "needs another value"),
    (["--vhost", "nowhere", "list_queues"], 1, "404"),
    (["--password", "wrong", "status"], 1, "401"),
    (["--management", "127.0.0.1:1", "status"], 1, "no answer from 127.0.0.1:1"),
])
def test_ctl_says_what_is_wrong(sight, words, status, complaint):
    found, _, err = sight.ctl(*words)
    assert found == status
    assert err.startswith("godwitctl: ") and complaint in err


def test_ctl_escapes_what_would_break_lines(sight, channel, names):
    name = names.queue() + "\x1b[31m\ttab"
    names.queues.append(name)
    channel.queue_declare(name)
    out = sight.ctl("-s", "list_queues", "name")[1]
    assert name.replace("\x1b", "\\x1b").replace("\t", "\\x09") in out
    assert sight.get("/api/queues/%2F/" + urllib.parse.quote(name, safe=""))["name"] == name
