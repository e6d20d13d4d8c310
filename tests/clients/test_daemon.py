#!/usr/bin/python3
"""The broker as a process: flags and settings, its directory, its log, signals, and its end."""
import os
import pathlib
import re
import signal
import socket
import subprocess

import amqp
import pika
import pytest

from broker_process import free_ports
from patience import until
from sight import Sight

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS_MAX = 60


@pytest.fixture
def ours(broker):
    if not broker.is_ours:
        pytest.skip("starts processes of our own")
    return broker


def run(ours, *flags, **settings):
    """Starts one that is to end by itself."""
    return subprocess.run([ours.process.binary, *map(str, flags)], capture_output=True, text=True,
                          timeout=SECONDS_MAX, stdin=subprocess.DEVNULL, check=False, **settings)


@pytest.mark.parametrize("flags, complaint", [
    (["--lisen", "127.0.0.1:1"], "unknown flag '--lisen'; did you mean '--listen'?"),
    (["--listen-tls", "127.0.0.1:5671"], "--listen-tls: TLS is not in this version"),
    (["--shards", "65"], "'65' of 'shards' is not within"),
    (["--config", "/nonexistent"], "cannot read '/nonexistent'"),
    (["--log-level", "loud"], "'loud' is no log level"),
    (["--durability", "maybe"], "'maybe' is no durability: it is fsync or os"),
])
def test_wrong_flags(ours, flags, complaint):
    done = run(ours, *flags)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("godwit: ") and complaint in done.stderr


def test_wrong_settings_name_their_line(ours, tmp_path):
    path = tmp_path / "godwit.conf"
    path.write_text("# fine\nheartbeat = 10\nchanel_max = 5\n")
    done = run(ours, "--config", path)
    assert done.returncode == 2
    assert f"{path}:3: unknown key 'chanel_max'; did you mean 'channel_max'?" in done.stderr


def test_help_version_and_sample(ours, tmp_path):
    assert re.fullmatch(r"godwit \d+\.\d+\.\d+\n", run(ours, "--version").stdout)
    help_text = run(ours, "--help").stdout
    for flag in ("--config", "--data-dir", "--listen", "--management", "--metrics", "--shards",
                 "--durability", "--salvage", "--log-level", "--version", "--help"):
        assert flag in help_text
    sample = run(ours, "--print-config").stdout
    path = tmp_path / "sample.conf"
    lines = sample.replace("# listeners.tcp = none", "").replace(".tcp = none", ".tcp.port = 1")
    path.write_text(re.sub(r"(?m)^# (?=[a-z_.]+ = )", "", lines))
    done = run(ours, "--config", path, "--listen", "256.0.0.1:1", "--data-dir", tmp_path / "d")
    assert done.returncode == 1 and "cannot listen on 256.0.0.1:1" in done.stderr


def test_the_manual_page_is_what_the_table_prints(ours):
    printed = run(ours, "--print-config=man").stdout
    assert (ROOT / "man/godwit.conf.5").read_text() == printed


def test_a_directory_has_one_broker(ours):
    done = run(ours, "--data-dir", ours.process.folder, "--listen",
               f"127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 1
    assert f"in use by another broker (process {ours.process.process.pid})" in done.stderr


@pytest.mark.parametrize("flag", ["--listen", "--management", "--metrics"])
def test_a_port_in_use(ours, tmp_path, flag):
    ports = dict(zip(("--listen", "--management", "--metrics"), free_ports(3)))
    ports[flag] = ours.port
    flags = [part for name, port in ports.items() for part in (name, f"127.0.0.1:{port}")]
    done = run(ours, "--data-dir", tmp_path / "data", *flags)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{ours.port}: Address already in use" in done.stderr


def test_settings_reach_clients(start_broker):
    broker = start_broker("heartbeat = 17\nchannel_max = 33\nframe_max = 8192\n"
                          "cluster_name = shop\nproduct.name = Rabbit\nproduct.version = 3.10.8\n")
    seen = {}
    connection = pika.BlockingConnection(broker.parameters(
        heartbeat=lambda _connection, server: seen.setdefault("heartbeat", server)))
    implementation = connection._impl
    assert seen["heartbeat"] == 17
    assert implementation.params.channel_max == 33
    assert implementation.params.frame_max == 8192
    properties = implementation.server_properties
    assert (properties["product"], properties["version"]) == ("Rabbit", "3.10.8")
    assert properties["cluster_name"] == "shop"
    connection.close()


def test_max_message_size(start_broker):
    broker = start_broker("max_message_size = 1kB\n")
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("small")
    channel.basic_publish("", "small", b"x" * 1000)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_publish("", "small", b"x" * 1001)
    assert closed.value.reply_code == 406
    connection.close()


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")
def test_ipv6(start_broker):
    port, = free_ports(1)
    broker = start_broker(f"listeners.tcp.six = [::1]:{port}\n")
    # The flag of BrokerProcess wins over the file, so the address is asked for by a second start.
    broker.process.stop()
    command = broker.process.command

    def with_six(config):
        return [*command(config), "--listen", f"[::1]:{port}"]

    broker.process.command = with_six
    broker.process.start()
    connection = pika.BlockingConnection(pika.ConnectionParameters("::1", port))
    connection.channel().queue_declare("six", exclusive=True)
    peers = [row["peer_host"] for row in Sight(broker.process).get("/api/connections")]
    assert peers == ["::1"]
    connection.close()


# ---- the log ----

def lines_with(process, *words):
    return [line for line in process.lines if all(word in line for word in words)]


def test_the_start_is_logged(ours):
    lines = list(ours.process.lines)
    [ready] = lines_with(ours.process, "ready")
    for words in (("server.starting", "version="), ("store.recovered", "messages=0"),
                  ("server.listening", "for=amqp"), ("server.listening", "for=management"),
                  ("server.listening", "for=metrics")):
        [line] = lines_with(ours.process, *words)
        assert lines.index(line) < lines.index(ready)


def test_connections_are_logged(start_broker):
    broker = start_broker()
    process = broker.process
    pika.BlockingConnection(broker.parameters()).close()
    until(lambda: lines_with(process, "connection.closed", "reason=client"), what="the line")
    assert lines_with(process, "connection.opened", "user=guest", "vhost=/")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(broker.parameters(
            credentials=pika.PlainCredentials("evil\nserver.ready", "x")))
    until(lambda: lines_with(process, "login.refused"), what="the refusal")
    assert lines_with(process, "login.refused", 'user="evil\\x0aserver.ready"')
    connection = pika.BlockingConnection(broker.parameters())
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        connection.channel().queue_declare("missing", passive=True)
    until(lambda: lines_with(process, "channel.error", "code=404", "no queue 'missing'"),
          what="the fault")
    connection.close()
    other = amqp.Connection(host=f"{broker.host}:{broker.port}", connect_timeout=20)
    other.connect()
    other.sock.shutdown(socket.SHUT_RDWR)
    until(lambda: lines_with(process, "connection.closed", "reason=vanished"), what="the loss")


def test_a_missed_heartbeat_is_logged(start_broker):
    broker = start_broker()
    connection = pika.BlockingConnection(broker.parameters(heartbeat=1))
    until(lambda: lines_with(broker.process, "connection.closed", "reason=timeout"),
          what="the line")
    assert connection.is_open  # as far as it knows: it has not looked


def test_a_flood_is_moderated(start_broker):
    broker = start_broker("log.console.level = debug\n")
    for _ in range(1000):
        socket.create_connection(("127.0.0.1", broker.port)).close()
    sight = Sight(broker.process)
    until(lambda: sight.metrics()["rabbitmq_connections_closed_total"] >= 1000,
          what="the connections' ends")
    pika.BlockingConnection(broker.parameters()).close()
    until(lambda: lines_with(broker.process, "connection.opened", "user=guest"), lambda _: (
        pika.BlockingConnection(broker.parameters()).close()), what="a line after the flood")
    assert len(lines_with(broker.process, "connection.closed")) < 1000
    assert lines_with(broker.process, "withheld=")


def test_nobody_reads_the_log(ours, tmp_path):
    """A full pipe loses lines, but never holds the broker up."""
    ports = free_ports(1)
    process = subprocess.Popen(
        [ours.process.binary, "--listen", f"127.0.0.1:{ports[0]}", "--management", "none",
         "--metrics", "none", "--data-dir", str(tmp_path / "data"), "--log-level", "debug"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while b"ready" not in process.stderr.readline():
            assert process.poll() is None
        for _ in range(3000):
            socket.create_connection(("127.0.0.1", ports[0])).close()
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", ports[0]))
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS_MAX) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.stderr.close()
        process.wait()


def test_sighup_reads_the_log_level(start_broker):
    broker = start_broker("log.console.level = info\n")
    process = broker.process
    path = process.folder.with_suffix(".conf")
    path.write_text("log.console.level = error\n")
    process.process.send_signal(signal.SIGHUP)
    # The line about the reload is itself below the new level: a quiet connection shows it.
    path.write_text("log.console.level = nonsense\n")
    process.process.send_signal(signal.SIGHUP)
    until(lambda: lines_with(process, "config.reloaded", "error="), what="the complaint")
    pika.BlockingConnection(broker.parameters()).close()
    path.write_text("log.console.level = debug\n")
    process.process.send_signal(signal.SIGHUP)
    until(lambda: lines_with(process, "config.reloaded", "level=debug"), what="the reload")
    pika.BlockingConnection(broker.parameters()).close()
    until(lambda: lines_with(process, "connection.closed"), what="the line")
    assert len(lines_with(process, "connection.opened")) >= 1


# ---- the end ----

def test_systemd_is_told(ours, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(SECONDS_MAX)
        process = subprocess.Popen(
            [ours.process.binary, "--listen", f"127.0.0.1:{free_ports(1)[0]}", "--management",
             "none", "--metrics", "none", "--data-dir", str(tmp_path / "data")],
            env={**os.environ, "NOTIFY_SOCKET": str(path)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert listener.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert listener.recv(100) == b"STOPPING=1"
            assert process.wait(SECONDS_MAX) == 0
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def test_stops_in_the_middle_of_lists(start_broker):
    broker = start_broker()
    with pika.BlockingConnection(broker.parameters()) as connection:
        channel = connection.channel()
        for i in range(300):
            channel.queue_declare(f"q{i}", arguments={"x-filler": "f" * 20000})
    request = (b"GET /api/queues HTTP/1.1\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n")
    lazy = []
    for _ in range(5):
        raw = socket.create_connection(("127.0.0.1", broker.process.management_port), SECONDS_MAX)
        raw.sendall(request)
        lazy.append(raw)
    assert lazy[0].recv(100).startswith(b"HTTP/1.1 200 OK")
    for raw in lazy[1:]:
        raw.sendall(b"GET /health HTTP/1.1\r\n\r\n" * 10)
    broker.process.stop()
    for raw in lazy:
        raw.close()


def test_idle_costs_nothing(start_broker):
    broker = start_broker()
    sight = Sight(broker.process)
    connection = pika.BlockingConnection(broker.parameters(heartbeat=0))
    before = sight.metrics()["godwit_loop_turns_total"]
    connection.process_data_events(time_limit=2)
    after = sight.metrics()["godwit_loop_turns_total"]
    # The two scrapes ask every shard a few times; nothing else wakes one.
    assert after - before < 40
    connection.close()


# ---- durability ----

def test_durability_os_is_said_everywhere(start_broker):
    broker = start_broker("durability = os\n")
    assert lines_with(broker.process, "server.durability_os")
    assert lines_with(broker.process, "store.recovered", "operating system")
    sight = Sight(broker.process)
    assert sight.request("/health", user=None)[2] == b"ok, durability os\n"
    assert sight.metrics()["godwit_store_synced"] == 0
    assert sight.get("/api/nodes")[0]["durability"] == "os"


def test_durability_is_fsync_by_default(ours):
    assert not lines_with(ours.process, "server.durability_os")
    assert Sight(ours.process).metrics()["godwit_store_synced"] == 1
