"""The broker is killed under load, again and again, and keeps what it has promised."""
import os

from card import RULES
from crash import Crash, default_options

ROUNDS = int(os.environ.get("GODWIT_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("GODWIT_CRASH_SEED", "1"))


def test_crash(make_server, tmp_path, request, capsys):
    """One data directory through all rounds, each start with one shard or with four."""
    rabbitmq = request.config.getoption("--rabbitmq")
    options = default_options(rounds=ROUNDS, seed=SEED, rabbitmq=rabbitmq,
                              tolerate=["redelivered", "topology"] if rabbitmq else [])
    crash = Crash(make_server(tmp_path), options)
    good = crash.run()
    assert good, "\n" + crash.report()
    with capsys.disabled():
        print("\n" + crash.figures())
    looked_enough(crash.card)


def looked_enough(card):
    """A run that passes has looked: at every rule that is counted, many times."""
    for rule in set(RULES) - {"start", "protocol", "stuck"}:
        assert card.looked[rule], f"nothing has looked at '{rule}'"
    for what in ("messages confirmed", "delivery", "crash", "clean end", "committed", "delete-ok"):
        assert card.tally[what], f"no {what}"
