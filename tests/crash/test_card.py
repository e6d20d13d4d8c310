"""The card by itself: what it demands of a broker that dies, without a broker.

The proxy of test_mutations.py cannot kill anybody; what may and must be there after a crash or a
clean stop is shown here, step by step.
"""
import pytest

from card import Card, Message
from link import Delivery
from topology import topic_matches

QUEUE = "q"


class Story:
    """Events in order, as clients would enter them."""

    def __init__(self, durable=True):
        self.card = Card()
        self.card.life_begins()
        self.make(QUEUE, durable)
        self.stream = self.card.open_stream("a publisher")
        self.number = 0
        self.taker = None

    def make(self, queue, durable=True):
        thing = self.card.topology.queue(queue, durable)
        self.card.changing("making", thing)
        self.card.changing("made", thing)

    def publish(self, confirmed=True, pending=False, **options):
        self.number += 1
        message = Message(self.stream, self.number, "", QUEUE, **options)
        self.card.publishing(message, pending)
        if confirmed:
            self.card.confirmed([message])
        return message

    def take(self, message, redelivered=False):
        self.taker = self.taker or self.card.hand(QUEUE, "a consumer")
        return self.card.delivered(self.taker, Delivery(
            1, redelivered, message.exchange, message.key, message.properties, message.body()))

    def restart(self, cleanly=False):
        self.card.life_ended(cleanly)
        self.card.life_begins()
        self.taker = None

    def empty(self):
        """The queue is taken empty without giving anything more."""
        self.card.emptied(self.taker or self.card.hand(QUEUE, "a look", strict=True))

    @property
    def broken(self):
        return [failure.rule for failure in self.card.failures]


@pytest.fixture
def story():
    return Story()


def test_confirmed_stays(story):
    story.publish()
    story.restart()
    story.empty()
    assert story.broken == ["lost"]


@pytest.mark.parametrize("options", [{"confirmed": False}, {"persistent": False}])
def test_unconfirmed_and_transient_may_go_and_may_stay(story, options):
    gone, there = story.publish(**options), story.publish(**options)
    story.restart()
    story.take(there)
    story.empty()
    assert not story.broken
    story.restart()
    story.take(gone)
    assert story.broken == ["resurrected"]


def test_an_ack_may_be_lost_with_the_broker(story):
    message = story.publish()
    story.card.settle([story.take(message)], "ack")
    story.restart()
    story.take(message, redelivered=True)
    assert not story.broken


def test_it_comes_back_with_the_flag(story):
    message = story.publish()
    story.card.settle([story.take(message)], "ack")
    story.restart()
    story.take(message)
    assert story.broken == ["redelivered"]


def test_an_ack_is_not_lost_without_a_crash(story):
    message = story.publish()
    story.card.settle([story.take(message)], "ack")
    story.take(message, redelivered=True)
    assert story.broken == ["duplicate"]


def test_an_applied_ack_outlives_a_clean_stop(story):
    message = story.publish()
    story.card.settle([story.take(message)], "ack")
    story.card.applied(story.taker)
    story.restart(cleanly=True)
    story.take(message, redelivered=True)
    assert story.broken == ["resurrected"]


def test_a_stop_takes_from_one_and_gives_to_another(story):
    message = story.publish()
    story.take(message)
    story.card.stopping()
    story.taker = story.card.hand(QUEUE, "another consumer")
    story.take(message, redelivered=True)
    assert not story.broken


def test_a_committed_ack_outlives_a_kill(story):
    message = story.publish()
    entry = story.take(message)
    story.card.committing([], [entry], [])
    story.card.committed([], [entry])
    story.restart()
    story.take(message, redelivered=True)
    assert story.broken == ["resurrected"]


def test_an_ack_whose_commit_is_not_answered_may_be_lost(story):
    message = story.publish()
    entry = story.take(message)
    story.card.committing([], [entry], [])
    story.restart()
    story.take(message, redelivered=True)
    assert not story.broken


def test_held_messages_stay(story):
    story.take(story.publish())
    story.restart()
    story.empty()
    assert story.broken == ["lost"]


def test_an_open_transaction_leaves_nothing(story):
    message = story.publish(confirmed=False, pending=True)
    story.restart()
    story.take(message)
    assert story.broken == ["phantom"]


def test_an_open_transaction_shows_nothing(story):
    story.take(story.publish(confirmed=False, pending=True))
    assert story.broken == ["phantom"]


@pytest.mark.parametrize("answered", [True, False])
def test_a_purge_outlives_a_kill_once_it_is_answered(story, answered):
    message = story.publish()
    story.card.removing(QUEUE, "purge")
    if answered:
        story.card.purged(QUEUE, 1)
    story.restart()
    story.take(message)
    assert story.broken == (["resurrected"] if answered else [])


def test_a_purge_spares_what_is_held(story):
    story.take(story.publish())
    story.card.removing(QUEUE, "purge")
    story.card.purged(QUEUE, 0)
    story.restart()
    story.empty()
    assert story.broken == ["lost"]


def test_a_purge_may_take_what_is_confirmed_after_it(story):
    message = story.publish(confirmed=False)
    story.card.removing(QUEUE, "purge")
    story.card.purged(QUEUE, 1)
    story.card.confirmed([message])
    story.restart()
    story.empty()
    assert not story.broken


def test_a_confirm_after_an_ack_that_may_be_lost(story):
    """The confirm is late: the message may have been acked and be gone already."""
    message = story.publish(confirmed=False)
    story.card.settle([story.take(message)], "ack")
    story.card.hand_closing(story.taker, abruptly=True)
    story.card.confirmed([message])
    story.restart()
    story.empty()
    assert not story.broken


def test_a_deleted_queue_does_not_give_back(story):
    message = story.publish()
    story.card.removing(QUEUE, "delete")
    story.card.deleted(QUEUE)
    story.make(QUEUE)
    story.restart()
    story.take(message)
    assert story.broken == ["resurrected"]


def test_a_queue_that_is_not_durable_keeps_nothing():
    story = Story(durable=False)
    message = story.publish()
    story.restart()
    assert story.card.topology.queue(QUEUE).state == "absent"
    story.take(message)
    assert story.broken == ["resurrected"]


def test_a_way_that_is_made_in_time(story):
    """A message may get into a queue that was declared while it was under way, but need not."""
    topology = story.card.topology
    message = Message(story.stream, 1, "", "late")
    story.card.publishing(message)
    story.make("late")
    story.card.confirmed([message])
    assert topology.queue("late").state == "there"
    assert story.card.bounds("late") == (0, 1)


def test_a_mandatory_message(story):
    unroutable = Message(story.stream, 1, "", "nobody", mandatory=True)
    story.card.publishing(unroutable)
    story.card.confirmed([unroutable])
    assert story.broken == ["topology"]


def test_ids_that_nobody_knows(story):
    message = Message(story.stream, 77, "", QUEUE)
    story.take(message)
    assert story.broken == ["resurrected"]
    story.take(Message(99, 1, "", QUEUE))
    assert story.broken == ["resurrected", "phantom"]


def test_histories_are_forgotten_and_ids_are_not(story):
    message = story.publish()
    entry = story.take(message)
    story.card.committing([], [entry], [])
    story.card.committed([], [entry])
    for _ in range(8):
        story.restart()
    assert not story.card.messages
    story.take(message)
    assert story.broken == ["resurrected"]


@pytest.mark.parametrize("pattern, key, matches", [
    ("a.*", "a.b", True), ("a.*", "a", False), ("#.b", "b", True), ("#.b", "a.c.b", True),
    ("a.#", "a", True), ("*.c.*", "x.c.y", True), ("*.c.*", "c.y", False), ("#", "", True),
    ("", "", True), ("*", "", False),
])
def test_topics(pattern, key, matches):
    assert topic_matches(pattern, key) is matches
