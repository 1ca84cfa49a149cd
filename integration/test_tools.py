"""What people run besides servers: shells, make, compressors, git, rsync, curl, interpreters with threads, setuid programs.

Each runs alone and under coro, with all its child programs, and must say and make the same.
"""

import gzip
import lzma
import os
import random
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import crowd
import pytest
from world import HERE, LIBRARY, PYTHON, free_port, program, wait_until_connectable

TOOLS = HERE / "tools"


@pytest.fixture
def run(start):
    """run(argv, status=0): runs to its end and returns what it said; nothing may be said on stderr."""
    def run(argv, status=0, **how):
        process = start(argv, **how)
        assert process.wait(60) == status, process.describe()
        assert process.errors() == "", process.describe()
        return process.output()
    return run


# ---- interpreters and shells ----

BASH = """\
1000
A B C
caught TERM
waited 143
killed 143
eda1b2a5649ead4aaf46ae7bb418a101  -
141 0 0
hello
process
substitution
timed out 142
timeout 124
caught USR1
left with 3
5d634700c6211755a05f842011801338  -
5 4 3 2 1
here
bye
"""

PERL = """\
8 workers, sum 21413400
in turns
value
timed out
from a child
0
"""

PERL_QUEUES = """\
child 0, sum 21413400
400 jobs
none: No message of desired type
in turns
removed: Identifier removed
"""

RUBY = """\
sum 41791750
in turns
timed out
false
wake up
together true
[0, 1, 2]
["CHILD 0", "CHILD 1", "CHILD 2", "CHILD 3", "CHILD 4"]
127.0.0.1
thread of a child
0
caught USR1
[45000150000]
"""


def test_bash(run):
    assert run(["bash", TOOLS / "bash.sh"], status=7) == BASH


def test_perl(run):
    assert run(["perl", TOOLS / "perl_threads.pl"]) == PERL
    assert run(["perl", TOOLS / "perl_queues.pl"]) == PERL_QUEUES


def test_ruby(run):
    assert run(["ruby", TOOLS / "ruby_threads.rb"]) == RUBY


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_sqlite(run, journal):
    assert run([PYTHON, TOOLS / "sqlite_threads.py", journal]) == "(1000, 24500) []\nok\n"


def test_make_with_a_hundred_jobs(run):
    said = run(["make", "-j100", "-f", TOOLS / "Makefile"])
    assert [int(line) for line in said.split()] == list(range(1, 101))


# ---- programs with worker threads ----

def some_text(size):
    chance = random.Random(size)
    words = [chance.randbytes(chance.randint(2, 9)).hex().encode() for _ in range(500)]
    text = b" ".join(chance.choice(words) for _ in range(size // 8))
    return text[:size]


@pytest.mark.parametrize("tool, options, library", [
    ("xz", ["-T4", "-0", "--block-size=1MiB"], lzma), ("pigz", ["-p4", "-1", "-n"], gzip)])
def test_compressor(run, tmp_path, tool, options, library):
    text = some_text(6 << 20)
    plain = tmp_path / "text"
    plain.write_bytes(text)
    run([tool, *options, "--keep", plain])
    packed = next(path for path in tmp_path.iterdir() if path.suffix in (".xz", ".gz"))
    assert library.decompress(packed.read_bytes()) == text
    plain.unlink()
    run([tool, *options[:1], "-d", packed])
    assert plain.read_bytes() == text


def test_ssh_keygen(run, tmp_path):
    for kind in ("ed25519", "rsa"):
        key = tmp_path / kind
        run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key])
        public = key.with_suffix(".pub").read_text().split()
        assert run(["ssh-keygen", "-y", "-f", key]).split()[:2] == public[:2]


# ---- names ----

DNS = """\
quick.zone.test: 10.0.0.1 port 80, 1 in all
slow.zone.test: 10.0.0.2 port 80, 1 in all
many.zone.test: 10.1.0.1 port 80, 40 in all
lost.zone.test: 10.0.0.4 port 80, 1 in all
none.zone.test: Name or service not known
of.hosts: 10.9.9.9 port 80, 1 in all
localhost: 127.0.0.1 port 80, 1 in all
10.2.3.4: 10.2.3.4 port 80, 1 in all
"""
NAMES = [line.split(":")[0] for line in DNS.splitlines()]


@pytest.fixture
def run_with_dns(world, start):
    """run(argv): beside a name server of its own, see tools/dns_stub.py."""
    probe = subprocess.run(["unshare", "-rnm", "mount", "--bind", "/etc", "/etc"], capture_output=True)
    if probe.returncode:
        pytest.skip(f"no namespaces here: {probe.stderr.decode().strip()}")
    inside, outside = world.environment(), world.environment(inside=False)
    variables = "\n".join(f"{name}={value}" for name, value in inside.items() if outside.get(name) != value)

    def run(argv):
        process = start(["unshare", "-rnm", PYTHON, TOOLS / "dns_stub.py", *argv], inside=False,
                        OF_THE_PROGRAM=variables)
        assert process.wait(40) == 0, process.describe()
        assert process.errors() == "", process.describe()
        return process.output()
    return run


@pytest.mark.parametrize("threads", [1, 40])
def test_resolver(run_with_dns, threads):
    assert run_with_dns([program("resolve"), threads, *NAMES]) == DNS


def test_getent(run_with_dns):
    assert run_with_dns(["getent", "ahosts", "10.2.3.4"]).split()[:2] == ["10.2.3.4", "STREAM"]
    assert run_with_dns(["getent", "hosts", "slow.zone.test"]).split() == ["10.0.0.2", "slow.zone.test"]
    assert run_with_dns(["getent", "hosts", "of.hosts"]).split() == ["10.9.9.9", "of.hosts"]


def test_curl_in_parallel(run_with_dns, tmp_path):
    """Fifty at a time, each with a resolver thread of its own that asks the name server."""
    files = tmp_path / "files"
    files.mkdir()
    (tmp_path / "fetched").mkdir()
    for number in range(100):
        (files / f"{number}").write_bytes(crowd.payload(number * 1_000))
    script = f"""
        >port; {PYTHON} {TOOLS}/file_server.py {files} >port & server=$!
        until grep -q listening port; do sleep 0.05; done
        curl --no-progress-meter --parallel --parallel-immediate --parallel-max 50 -o '{tmp_path}/fetched/#1' \
            "http://here.zone.test:$(tr -dc 0-9 <port)/[0-99]"
        status=$?
        kill $server; wait $server
        exit $status"""
    run_with_dns(["bash", "-c", script])
    for number in range(100):
        assert (tmp_path / "fetched" / f"{number}").read_bytes() == crowd.payload(number * 1_000)


# ---- daemons with child processes ----

def test_git(run, start, tmp_path):
    """A daemon of this world, which runs upload-pack and receive-pack for clients of this world and one from outside."""
    mine = dict(HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b",
                GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@b")

    def git(*words, inside=True):
        return run(["git", *words], inside=inside, **mine)

    origin, work = tmp_path / "origin.git", tmp_path / "work"
    git("init", "-q", "--bare", "-b", "main", origin)
    port = free_port()
    daemon = start(["git", "daemon", "--listen=127.0.0.1", f"--port={port}", f"--base-path={tmp_path}", "--export-all",
                    "--enable=receive-pack", "--reuseaddr"], **mine)
    wait_until_connectable(daemon, port)
    url = f"git://127.0.0.1:{port}/origin.git"
    git("init", "-q", "-b", "main", work)
    for number in range(5):
        for name in "abcd":
            (work / name).write_bytes(crowd.payload(10_000 * number + ord(name)))
        git("-C", work, "add", ".")
        git("-C", work, "commit", "-q", "-m", f"commit {number}")
    git("-C", work, "push", "-q", url, "main")
    for inside in (True, False):
        clone = tmp_path / f"clone-{inside}"
        git("clone", "-q", url, clone, inside=inside)
        git("-C", clone, "-c", "pack.threads=4", "repack", "-adfq")
        git("-C", clone, "fsck", "--full", "--no-progress", "--no-dangling")
        assert git("-C", clone, "rev-parse", "HEAD") == git("-C", work, "rev-parse", "HEAD")
        assert (clone / "d").read_bytes() == (work / "d").read_bytes()
    assert daemon.stop(signal.SIGTERM) == -signal.SIGTERM, daemon.describe()


def test_rsync(run, start, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for number in range(100):
        (files / f"{number}").write_bytes(crowd.payload(number * 2_000))
    settings = tmp_path / "rsyncd.conf"
    settings.write_text(f"use chroot = no\n[files]\npath = {files}\n[back]\npath = {tmp_path}/back\nread only = no\n"
                        f"uid = {os.getuid()}\ngid = {os.getgid()}\n")
    (tmp_path / "back").mkdir()
    port = free_port()
    daemon = start(["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}", f"--config={settings}"])
    wait_until_connectable(daemon, port)
    run(["rsync", "-a", f"rsync://127.0.0.1:{port}/files/", f"{tmp_path}/copy/"])
    (tmp_path / "copy" / "7").write_bytes(b"changed")
    run(["rsync", "-ac", f"{tmp_path}/copy/", f"rsync://127.0.0.1:{port}/back/"])
    for number in range(100):
        want = b"changed" if number == 7 else crowd.payload(number * 2_000)
        assert (tmp_path / "back" / f"{number}").read_bytes() == want
    assert daemon.stop(signal.SIGTERM) == 0, daemon.describe()


# ---- privileges ----

NOBODY = 65534
WAYS = ["by_fork", "by_posix_spawn", "by_subprocess", "by_popen"]


@pytest.fixture
def readable_by_all():
    """A folder that programs of any user can get into."""
    folder = Path(tempfile.mkdtemp(prefix="coro-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a setuid program")
def test_setuid_program(world, run, readable_by_all):
    """Started by a program of nobody's, in every way: it becomes root, and nothing of ours keeps it from that."""
    if os.statvfs(readable_by_all).f_flag & os.ST_NOSUID:
        pytest.skip("the temporary files are on a file system without setuid")
    as_root = readable_by_all / "grep"
    shutil.copy("/bin/grep", as_root)
    as_root.chmod(0o755 | stat.S_ISUID)
    script = readable_by_all / "privileges.py"
    shutil.copy(TOOLS / script.name, script)
    preload = {}
    if world.coro:
        shutil.copy(LIBRARY, readable_by_all)
        preload = dict(LD_PRELOAD=str(readable_by_all / LIBRARY.name), CORO_STATS="")
    said = run(["setpriv", f"--reuid={NOBODY}", "--clear-groups", PYTHON, script, as_root, "-E",
                "^(Uid|NoNewPrivs|Seccomp|SigBlk|SigIgn):", "/proc/self/status"], **preload)
    facts = f"Uid: {NOBODY} 0 0 0 SigBlk: 0000000000000000 SigIgn: {{ignored}} NoNewPrivs: 0 Seccomp: 0"
    *starts, replaced = said.split("\n", len(WAYS))
    # CPython ignores SIGPIPE and SIGXFSZ, and only subprocess gives them back; posix_spawn ignores libc's own two signals.
    python_ignores = "0000000001001000"
    ignored = dict(zip(WAYS, [python_ignores, "0000000181001000", "0" * 16, "0" * 16]))
    assert starts == [f"{way} {facts.format(ignored=ignored[way])}" for way in WAYS]
    assert " ".join(replaced.split()) == facts.format(ignored=python_ignores)


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody has a password here")
@pytest.mark.parametrize("change", [["sudo", "-n", "-u", "nobody"], ["su", "-s", "/bin/sh", "nobody", "-c"]])
def test_other_user(run, change):
    command = "id -un; grep NoNewPrivs /proc/self/status"
    script = f"""
        import subprocess, threading
        lock = threading.Lock()
        def change():
            with lock:
                print(subprocess.run({change + ([command] if change[-1] == "-c" else ["sh", "-c", command])!r}).returncode)
        threads = [threading.Thread(target=change) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()"""
    said = run([PYTHON, "-c", "\n".join(line[8:] for line in script.splitlines())], CORO_STATS="")
    assert said == "nobody\nNoNewPrivs:\t0\n0\n" * 3
