#!/usr/bin/python3
"""bounded: a fixture that gives every test an end."""
import os
import signal

import pytest

TEST_SECONDS_MAX = int(os.environ.get("GODWIT_TEST_SECONDS", "120"))


@pytest.fixture(autouse=True)
def bounded(request):
    """Ends a test that waits for something that does not come."""
    def expire(_signal, _frame):
        pytest.fail(f"{request.node.name} took more than {TEST_SECONDS_MAX} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(TEST_SECONDS_MAX)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
