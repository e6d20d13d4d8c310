#!/usr/bin/python3
"""suites: what scripts/test runs, one small function per suite.

A suite adds to a Tally one entry per test case. A suite whose program or files are missing, that
ends early, or that finds no case of its own is a failure: nothing is left out in silence.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test-logs"
PYTEST = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
SHOWN_LINES_MAX = 60
READY_SECONDS_MAX = 30


class Tally:
    """What one suite found: case names that passed, and names with what went wrong."""

    def __init__(self, name, pattern):
        self.name = name
        self.pattern = pattern
        self.log = LOGS / f"{name}.log"
        self.passed = 0
        self.skipped = 0
        self.failures = []

    def passes(self, count=1):
        self.passed += count

    def fails(self, case):
        self.failures.append(case)

    def wants(self, case):
        return not self.pattern or self.pattern in case

    def run(self, command, minutes=10, **environment):
        """Runs a program with its output in the log; its exit status, or None when it took too long."""
        full = {**os.environ, **SANITIZERS, **environment}
        with open(self.log, "ab") as log:
            log.write(("$ " + " ".join(map(str, command)) + "\n").encode())
            log.flush()
            process = subprocess.Popen(command, cwd=ROOT, env=full, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                return process.wait(minutes * 60)
            except subprocess.TimeoutExpired:
                self.fails(f"{pathlib.Path(command[0]).name}: not done in {minutes} minutes")
                return None
            finally:
                # Whatever it left running is of its own session; nothing else is touched.
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def build(kind):
    """Builds once per run; a build that fails is a failure of the suite that wanted it."""
    with build.lock:
        if kind not in build.done:
            done = subprocess.run([ROOT / "scripts/build", kind], cwd=ROOT, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, check=False)
            build.done[kind] = None if done.returncode == 0 else done.stdout + done.stderr
    if build.done[kind] is not None:
        raise BuildFailed(kind, build.done[kind])
    return ROOT / "build" / kind


build.done = {}
build.lock = threading.Lock()


class BuildFailed(Exception):
    """The build of a kind failed; carries what the compiler said."""

    def __init__(self, kind, output):
        super().__init__(f"scripts/build {kind} failed")
        self.output = output


def count_tap(tally, text):
    """Counts the lines "ok 1 - name" and "not ok 2 - name"."""
    for verdict, name in re.findall(r"^(ok|not ok) \d+ - (.*)$", text, re.M):
        if not tally.wants(name):
            continue
        if verdict == "ok":
            tally.passes()
        else:
            tally.fails(name)


def count_cmocka(tally, program, output, good):
    """Counts the cases of one unit test program; one that died counts for one more failure."""
    passed = re.findall(r"^\[       OK \] (\S+)", output, re.M)
    failed = set(re.findall(r"^\[  (?:FAILED|ERROR ) +\] (\w+)$", output, re.M))
    tally.passes(len(passed))
    for case in sorted(failed):
        tally.fails(f"{program}: {case}")
    if not good and not failed:
        tally.fails(f"{program}: ended early")
    if good and not passed:
        tally.passes()


def run_meson(tally, kind, suite, wrapper=()):
    """The programs of one meson suite, counted by their cases."""
    folder = build(kind)
    known = json.loads(subprocess.run(["meson", "introspect", "--tests", folder], check=True,
                                      capture_output=True, text=True).stdout)
    names = [t["name"] for t in known if any(s.split(":")[-1] == suite for s in t["suite"])]
    wanted = [n for n in names if tally.wants(n)]
    if not names:
        tally.fails(f"meson knows no test of the suite '{suite}' in {folder.name}")
    if not wanted:
        return
    base = f"testlog-{tally.name}"
    tally.run([*wrapper, "meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs",
               "--logbase", base, *wanted])
    seen = set()
    with open(folder / "meson-logs" / f"{base}.json", encoding="utf-8") as results:
        for line in results:
            one = json.loads(line)
            name = one["name"].split(" / ")[-1].split(":")[-1]
            seen.add(name)
            output = one.get("stdout", "") + one.get("stderr", "")
            count_cmocka(tally, name, output, one["result"] in ("OK", "EXPECTEDFAIL"))
    for name in sorted(set(wanted) - seen):
        tally.fails(f"{name}: did not run")


def run_pytest(tally, folder, binary, shards, wrapper=(), minutes=8, **environment):
    """The Python tests of a folder against one broker binary."""
    if not list((ROOT / folder).glob("*test*.py")):
        tally.fails(f"{folder} has no test files")
        return
    report = LOGS / f"{tally.name}.xml"
    report.unlink(missing_ok=True)
    chosen = ["-k", tally.pattern] if tally.pattern else []
    status = tally.run([*wrapper, *PYTEST, f"--junitxml={report}", *chosen, folder], minutes=minutes,
                       GODWIT_BINARY=str(binary), GODWIT_SHARDS=str(shards), PYTHONDONTWRITEBYTECODE="1",
                       **environment)
    if tally.pattern and status == 5:
        return
    before = len(tally.failures)
    if report.exists():
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            count_junit(tally, case)
    if status and before == len(tally.failures):
        tally.fails(f"pytest ended with {status}")


def count_junit(tally, case):
    name = f"{case.get('classname')}.{case.get('name')}"
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        tally.fails(name)
    elif "skipped" in kinds:
        tally.skipped += 1
    else:
        tally.passes()


def no_aslr():
    """Thread sanitizer cannot place its shadow where the kernel randomizes too widely."""
    wrapper = ["setarch", "-R"]
    works = subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode == 0
    return wrapper if works else []


# ---- the suites ----

def suite_tidy(tally):
    tally.run([ROOT / "scripts/tidy", "--self-test"])
    count_tap(tally, tally.text())


def suite_unit(tally):
    run_meson(tally, "asan", "unit")


def suite_threads(tally):
    run_meson(tally, "tsan", "threads", no_aslr())


def suite_store(tally):
    """Journals and segments on a disk that lies: without sanitizers, which would take minutes."""
    run_meson(tally, "debug", "store")


def suite_sim(tally, seeds=6000):
    build("debug")
    for name, arguments in (("seeds", ["--seeds", str(seeds)]), ("replay", ["--replay-check"]),
                            ("ladder", ["--ladder"])):
        if not tally.wants(name):
            continue
        if tally.run([ROOT / "scripts/sim", *arguments], minutes=60) == 0:
            tally.passes()
        else:
            tally.fails(name)
    tally.run([ROOT / "scripts/sim", "--planted"])
    count_tap(tally, tally.text())


def suite_sim_long(tally):
    suite_sim(tally, seeds=200_000)


def suite_fuzz(tally, *arguments):
    status = tally.run([ROOT / "scripts/fuzz", *(arguments or ["--corpus-only"])], minutes=180)
    for name, verdict in re.findall(r"^fuzz: (\S+): (ok|FAILED)", tally.text(), re.M):
        if tally.wants(name):
            if verdict == "ok":
                tally.passes()
            else:
                tally.fails(name)
    if status and not tally.failures:
        tally.fails(f"scripts/fuzz ended with {status}")


def suite_fuzz_long(tally):
    suite_fuzz(tally, "--minutes", "10")


def suite_conformance_1(tally):
    run_pytest(tally, "tests/conformance", build("asan") / "godwit", 1)


def suite_conformance_4(tally):
    run_pytest(tally, "tests/conformance", build("asan") / "godwit", 4)


def suite_clients_1(tally):
    """Release, because it is what users run: a sanitizer has more memory than some limits allow."""
    run_pytest(tally, "tests/clients", build("release") / "godwit", 1)


def suite_clients_4(tally):
    run_pytest(tally, "tests/clients", build("asan") / "godwit", 4)


def suite_clients_tsan(tally):
    run_pytest(tally, "tests/clients", build("tsan") / "godwit", 4, no_aslr())


def suite_failures(tally):
    run_pytest(tally, "tests/failures", build("asan") / "godwit", 1)


def suite_scale(tally):
    """Figures beside their goals; only what is far off fails."""
    run_pytest(tally, "tests/scale", build("release") / "godwit", 1, minutes=90,
               GODWIT_SCALE_QUEUES="1000000", GODWIT_SCALE_MESSAGES="10000000")
    print("\n".join(re.findall(r"^figure: .*$", tally.text(), re.M)), flush=True)


def suite_crash(tally):
    """Release, because it is what users run: kills meet the races that they would meet there."""
    run_pytest(tally, "tests/crash", build("release") / "godwit", 1)


def suite_crash_long(tally):
    """Many rounds, the limit of the restart time, and recovery under the address sanitizer."""
    run_pytest(tally, "tests/crash", build("release") / "godwit", 1, minutes=90,
               GODWIT_CRASH_ROUNDS="500", GODWIT_NIGHTLY="1")
    run_pytest(tally, "tests/crash", build("asan") / "godwit", 1, minutes=60,
               GODWIT_CRASH_ROUNDS="100", GODWIT_CRASH_SEED="2", GODWIT_RESTART_MESSAGES="100000")


def suite_readme(tally):
    """README's first example, as it stands there, against scripts/server."""
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    if not example:
        tally.fails("README.md has no example")
        return
    build("release")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            [ROOT / "scripts/server", "--listen", f"127.0.0.1:{port}", "--management", "none", "--metrics",
             "none", "--data-dir", f"{home}/data"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(tally.log, "wb"))
        try:
            run_readme_example(tally, server, port, example[1])
        finally:
            server.kill()
            server.wait()


def run_readme_example(tally, server, port, example):
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not re.search(r"\bready\b", tally.text()):
        if server.poll() is not None or time.monotonic() > deadline:
            tally.fails("scripts/server did not get ready")
            return
        time.sleep(0.05)
    if "localhost" not in example:
        tally.fails("the example names no host")
        return
    example = example.replace('"localhost"', f'"127.0.0.1", {port}')
    done = subprocess.run(["/usr/bin/python3", "-c", example], capture_output=True, text=True,
                          timeout=30, check=False)
    if done.returncode == 0 and "hello" in done.stdout:
        tally.passes()
    else:
        tally.fails(f"the example: {done.stdout}{done.stderr}")
    server.send_signal(signal.SIGTERM)
    try:
        status = server.wait(10)
    except subprocess.TimeoutExpired:
        status = "no end in 10 s"
    if status == 0:
        tally.passes()
    else:
        tally.fails(f"SIGTERM: {status}")


def suite_bench(tally):
    """Every load once and short: nothing lost, repeated or reordered; how fast is not looked at."""
    if tally.run([ROOT / "scripts/bench", "--quick"]) == 0:
        tally.passes()
    else:
        tally.fails("scripts/bench --quick")


FAST = [suite_tidy, suite_unit]
DEFAULT = FAST + [suite_threads, suite_fuzz, suite_store, suite_sim, suite_readme, suite_failures,
                  suite_crash, suite_bench, suite_clients_tsan, suite_conformance_1, suite_conformance_4,
                  suite_clients_1, suite_clients_4]
# Clients wait for the broker and it for them: two such suites take hardly longer than one.
SIDE_BY_SIDE = {suite_conformance_1, suite_conformance_4, suite_clients_1, suite_clients_4,
                suite_clients_tsan}
NIGHTLY = [s for s in DEFAULT if s not in (suite_sim, suite_fuzz)] + [
    suite_fuzz, suite_fuzz_long, suite_sim_long, suite_crash_long, suite_scale]


def run_all(suites, pattern):
    """Runs the suites in their order, those that may be side by side last, two at a time."""
    tallies = [run_suite(suite, pattern) for suite in suites if suite not in SIDE_BY_SIDE]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return tallies + list(pool.map(lambda suite: run_suite(suite, pattern),
                                       [suite for suite in suites if suite in SIDE_BY_SIDE]))


def run_suite(suite, pattern):
    tally = Tally(name_of(suite), pattern)
    tally.log.unlink(missing_ok=True)
    began = time.monotonic()
    try:
        suite(tally)
    except BuildFailed as failed:
        tally.log.write_text(failed.output)
        tally.fails(str(failed))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        tally.fails(f"{type(error).__name__}: {error}")
    if not pattern and not tally.passed and not tally.failures:
        tally.fails("no case ran")
    if tally.passed or tally.failures or tally.skipped:
        report(tally, time.monotonic() - began)
    return tally


def report(tally, seconds):
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    verdict = "FAILED" if tally.failures else "ok"
    lines = [f"{tally.name:16} {verdict:7} {tally.passed} of {tally.passed + len(tally.failures)} cases"
             f"{skipped}, {seconds:.1f} s"]
    if tally.failures:
        lines += [f"    | {line}" for line in tally.text().split("\n")[-SHOWN_LINES_MAX:]]
        lines += [f"    failed: {failure}" for failure in tally.failures]
    print("\n".join(lines), flush=True)


def name_of(suite):
    return suite.__name__.removeprefix("suite_").replace("_", "-")


def main():
    parser = argparse.ArgumentParser(prog="scripts/test")
    parser.add_argument("--fast", action="store_true", help="unit tests only")
    parser.add_argument("--nightly", action="store_true", help="with long simulation and fuzzing")
    parser.add_argument("--list", action="store_true", help="name the suites and stop")
    parser.add_argument("pattern", nargs="?", default="")
    options = parser.parse_args()
    suites = FAST if options.fast else NIGHTLY if options.nightly else DEFAULT
    if options.list:
        print("\n".join(name_of(s) for s in suites))
        return 0
    pattern = options.pattern
    named = [s for s in suites if pattern and pattern in name_of(s)]
    if named:
        suites, pattern = named, ""
    LOGS.mkdir(parents=True, exist_ok=True)
    tallies = run_all(suites, pattern)
    passed = sum(t.passed for t in tallies)
    failed = sum(len(t.failures) for t in tallies)
    if not passed and not failed:
        print("nothing ran")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    if not shutil.which("meson"):
        sys.exit("suites: meson is missing; scripts/bootstrap test installs it")
    sys.exit(main())
