"""Bad input. The launcher says in one clear line what is wrong and exits as env(1) does: 125 for a wrong command line,
126 for what cannot be run, 127 for what is not found. The library on its own says one line, and the program runs.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from world import LAUNCHER, LIBRARY, World, program

ENVIRONMENT = World("alone", "/").environment()


def run(argv, **environment):
    return subprocess.run([str(word) for word in argv], env={**ENVIRONMENT, **environment}, capture_output=True,
                          text=True, timeout=20, stdin=subprocess.DEVNULL)


def coro(*words, **environment):
    return run([LAUNCHER, *words], **environment)


def refused(done, status, *named):
    """One line on stderr that begins with our name and names each of these words; nothing else; that status."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("coro: ") and done.stderr.count("\n") == 1, done.stderr
    for word in named:
        assert str(word) in done.stderr, f"{word} is not named in: {done.stderr}"


# ---- the command line ----

@pytest.mark.parametrize("words,named", [
    (["run", "--no-such-option", "/bin/true"], ["--no-such-option"]),
    (["run", "--stack-size=abc", "/bin/true"], ["--stack-size", "abc", "bytes|size"]),
    (["run", "--stack-size=1", "/bin/true"], ["--stack-size", "1", "16"]),
    (["run", "--stack-size"], ["--stack-size"]),
    (["run", "--hubs=99", "/bin/true"], ["--hubs", "99", "1", "64"]),
    (["run", "--hubs=-3", "/bin/true"], ["--hubs", "-3"]),
    (["run", "--hubs=9999999999999999999999", "/bin/true"], ["--hubs"]),
    (["run", "--loop=kqueue", "/bin/true"], ["--loop", "kqueue", "epoll"]),
    (["run", "--only=teeth", "/bin/true"], ["teeth", "socket"]),
    (["run", "--no-teeth", "/bin/true"], ["--no-teeth"]),
    (["run", "--only=socket", "--no-dns", "/bin/true"], ["--only"]),
    (["run"], ["run"]),
    (["run", "--"], ["run"]),
    (["dance"], ["dance"]),
    ([], ["coro"]),
    (["check"], ["check"]),
])
def test_a_wrong_command_line(words, named):
    done = coro(*words)
    refused(done, 125)
    for word in named:
        assert any(choice in done.stderr for choice in word.split("|")), f"{word} is not named in: {done.stderr}"


def test_a_program_that_may_be_executed_but_not_read():
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        for source, name, mode in (LAUNCHER, "coro", 0o755), (LIBRARY, "libcoro.so", 0o755), ("/usr/bin/env", "env", 0o111):
            shutil.copy(source, Path(place) / name)
            os.chmod(Path(place) / name, mode)
        words = [Path(place) / "coro", "run", Path(place) / "env"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, user=65534, cwd="/")
        assert done.returncode == 0 and f"LD_PRELOAD={place}/libcoro.so" in done.stdout, done
        done = subprocess.run([words[0], "check", words[2]], capture_output=True, text=True, timeout=20, user=65534, cwd="/")
        assert done.returncode == 0 and "not read" in done.stdout, done


# ---- what cannot be run: env(1) is the oracle for the status ----

def nothing(tmp_path):
    return tmp_path / "nothing-here"


def not_executable(tmp_path):
    path = tmp_path / "text"
    path.write_text("no program\n")
    return path


def directory(tmp_path):
    return tmp_path


def file_as_directory(tmp_path):
    return not_executable(tmp_path) / "program"


def script(tmp_path, interpreter):
    path = tmp_path / "script"
    path.write_text(f"#!{interpreter}\necho never\n")
    path.chmod(0o755)
    return path


def no_interpreter(tmp_path):
    return script(tmp_path, "/no/such/interpreter")


def interpreter_not_executable(tmp_path):
    return script(tmp_path, not_executable(tmp_path))


@pytest.mark.parametrize("make", [nothing, not_executable, directory, file_as_directory, no_interpreter,
                                  interpreter_not_executable])
def test_fails_as_env_does(tmp_path, make):
    path = make(tmp_path)
    status = run(["/usr/bin/env", path]).returncode
    assert status in (126, 127)
    refused(coro("run", path), status, path)


def test_a_name_not_in_path():
    refused(coro("run", "no-such-program-anywhere"), 127, "no-such-program-anywhere")


def test_a_script_whose_interpreter_env_cannot_find(tmp_path):
    refused(coro("run", script(tmp_path, "/usr/bin/env no-such-interpreter")), 127, "no-such-interpreter")


# ---- what could be run, but not with us ----

def static(tmp_path):
    return program("hello_static")


def copy_of_hello(tmp_path):
    return Path(shutil.copy(program("hello"), tmp_path / "hello-copy"))


def setuid(tmp_path):
    path = copy_of_hello(tmp_path)
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)  # to root, a program that is setuid root changes nothing
    path.chmod(0o4755)
    return path


def setgid(tmp_path):
    path = copy_of_hello(tmp_path)
    path.chmod(0o2755)
    return path


def file_capabilities(tmp_path):
    path = copy_of_hello(tmp_path)
    net_bind_service = (0x02000001).to_bytes(4, "little") + (1 << 10).to_bytes(8, "little") + bytes(8)
    try:
        os.setxattr(path, "security.capability", net_bind_service)
    except OSError as error:
        pytest.skip(f"needs the right to give capabilities to files: {error}")
    return path


def changed(tmp_path, find, put):
    """hello with some of its bytes changed."""
    path = copy_of_hello(tmp_path)
    content = path.read_bytes()
    assert content.count(find) >= 1 and len(find) == len(put)
    path.write_bytes(content.replace(find, put, 1))
    return path


def of_32_bits(tmp_path):
    return changed(tmp_path, b"\x7fELF\x02", b"\x7fELF\x01")


def of_musl(tmp_path):
    return changed(tmp_path, b"/lib64/ld-linux-x86-64.so.2", b"/lib/ld-musl-x86_64.so.1\0\0\0")


def cut_short(tmp_path):
    path = copy_of_hello(tmp_path)
    os.truncate(path, 40)
    return path


@pytest.mark.parametrize("make,why", [
    (static, "static"), (setuid, "setuid"), (setgid, "setgid"), (file_capabilities, "capabilities"),
    (of_32_bits, "32"), (of_musl, "musl"), (cut_short, "")])
def test_refuses_and_says_why(tmp_path, make, why):
    path = make(tmp_path)
    refused(coro("run", path), 126, path, why)


def test_a_script_for_a_static_interpreter(tmp_path):
    refused(coro("run", script(tmp_path, program("hello_static"))), 126, "hello_static", "static")


# ---- the library on its own never ends a process ----

def preloaded(*argv, **environment):
    return run(argv, LD_PRELOAD=str(LIBRARY), **environment)


@pytest.mark.parametrize("name,value,default", [
    ("CORO_STACK_SIZE", "abc", "0"), ("CORO_STACK_SIZE", "-1", "0"), ("CORO_STACK_SIZE", "12x", "0"),
    ("CORO_HUBS", "-1", "0"), ("CORO_HUBS", "many", "0"), ("CORO_HUBS", "65", "0"), ("CORO_LOOP", "kqueue", "auto"),
    ("CORO_PATCH", "teeth", "all"), ("CORO_STRICT", "perhaps", "0"), ("CORO_TRACE", "fly", "nothing"),
    ("CORO_OFFLOAD_THREADS", "1.5", "64")])
def test_a_bad_value_is_one_line_and_the_program_runs(name, value, default):
    for done in (preloaded(program("hello"), "and runs", **{name: value}),
                 coro("run", program("hello"), "and runs", **{name: value})):
        assert (done.returncode, done.stdout) == (0, "and runs\n"), done
        assert done.stderr.count("\n") == 1, done.stderr
        for word in ("coro", f"{name}={value}", default):
            assert word in done.stderr


def test_an_unknown_option_in_the_environment_is_one_line():
    done = preloaded(program("hello"), CORO_TEETH="32")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "CORO_TEETH" in done.stderr and done.stderr.count("\n") == 1


def test_an_empty_value_is_as_good_as_none():
    done = preloaded(program("hello"), CORO_STACK_SIZE="", CORO_LOOP="", CORO_STATS="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_stats_that_cannot_be_written_harm_nobody():
    done = preloaded(program("hello"), CORO_STATS="/no/such/directory/report")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "/no/such/directory/report" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("make", [static, setuid, file_capabilities])
def test_preloading_what_the_launcher_would_refuse_is_harmless(tmp_path, make):
    done = preloaded(make(tmp_path), "still", "here", CORO_STRICT="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "still\nhere\n", "")


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_the_launcher_hands_on_status_arguments_and_variables(status):
    done = coro("run", "--", "/bin/sh", "-c", f'echo "$1|$2|$SEEN"; exit {status}', "sh", "two words", "",
                SEEN="seen")
    assert (done.returncode, done.stdout, done.stderr) == (status, "two words||seen\n", "")


def test_a_library_that_is_already_preloaded_stays(tmp_path):
    source = tmp_path / "seen.c"
    source.write_text('#include <unistd.h>\n__attribute__((constructor)) void f(void) { write(1, "seen\\n", 5); }\n')
    library = tmp_path / "seen.so"
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    done = coro("run", program("hello"), LD_PRELOAD=str(library))
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\nhello\n", "")


def test_a_library_that_is_not_there(tmp_path):
    refused(coro("run", "/bin/true", CORO_LIBRARY=str(tmp_path / "nowhere.so")), 125, "libcoro.so", "CORO_LIBRARY")
