#!/usr/bin/python3
"""glibc's own tests of threads (nptl/tst-*.c, sysdeps/pthread/tst-*.c), alone and under coro.

Takes Debian's package glibc-source, builds glibc's support library and every test that builds by itself (those that
need glibc's internals or its build tree do not, and are left out), runs each alone, and those that pass alone under
coro. Built tests and the outcomes alone are kept in build/glibc-tests.

    glibc_tests.py                all of it
    glibc_tests.py tst-join1 ...  only these, telling all they say
    glibc_tests.py --alone        build, run alone, list what does not pass there
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from borrowed_suite import Exceptions, Outcome, compare, describe_status, require_library, run_all, run_limited
from world import HERE

ARCHIVE = Path("/usr/src/glibc/glibc-2.36.tar.xz")
WORK = HERE.parent / "build" / "glibc-tests"
SOURCE = WORK / "glibc-2.36"
PARTS = ["nptl", "sysdeps/pthread", "support", "posix", "include", "test-skeleton.c", "malloc/dynarray-skeleton.c",
         "elf/tst-unwind-main.c", "sysdeps/unix/sysv/linux/tst-skeleton-thread-affinity.c",
         "sysdeps/x86/tst-stack-align.h", "sysdeps/x86_64/stackguard-macros.h"]
PATIENCE = 3  # times the 20 s that glibc gives a test: tst-create-detached makes 100,000 threads
SECONDS = 20 * PATIENCE
UNSUPPORTED = 77  # what glibc's test driver says then

# Internal headers that stand on their own, given to the tests under the name they ask for.
SHIMS = ["array_length.h", "libc-diag.h", "intprops.h", "libc-pointer-arith.h", "scratch_buffer.h"]
MADE_UP = {"config.h": "#define HAVE_STACK_PROTECTOR 1\n",
           "stackinfo.h": "#define _STACK_GROWS_DOWN 1\n#define DEFAULT_STACK_PERMS (PF_R | PF_W)\n",
           "shlib-compat.h": "#define TEST_COMPAT(library, from, to) 0\n#define SHLIB_COMPAT(library, from, to) 0\n",
           "dso_handle.h": "extern void *__dso_handle __attribute__ ((visibility (\"hidden\")));\n",
           "atomic.h": "".join(f"#define atomic_{operation}_{order}(...) __atomic_{builtin}(__VA_ARGS__, "
                               f"__ATOMIC_{order.upper()})\n"
                               for operation, builtin in [("load", "load_n"), ("store", "store_n"),
                                                          ("fetch_add", "fetch_add")]
                               for order in ("relaxed", "acquire", "release")),
           "elf/dl-tunables.h": "#define TUNABLE_GET_FULL(...)\n"}
PATHS = {"SRCDIR_PATH": SOURCE, "OBJDIR_PATH": WORK, "OBJDIR_ELF_LDSO_PATH": "/lib64/ld-linux-x86-64.so.2",
         "INSTDIR_PATH": "/usr", "LIBDIR_PATH": "/usr/lib/x86_64-linux-gnu", "BINDIR_PATH": "/usr/bin",
         "SBINDIR_PATH": "/usr/sbin", "SLIBDIR_PATH": "/lib/x86_64-linux-gnu", "COMPLOCALEDIR_PATH": "/usr/lib/locale",
         "ROOTSBINDIR_PATH": "/usr/sbin", "SYSCONFDIR_PATH": "/etc"}

INCLUDED = [word for part in ("nptl", "support", "sysdeps/pthread", "sysdeps/unix/sysv/linux", "sysdeps/x86",
                              "sysdeps/x86_64") for word in ("-idirafter", SOURCE / part)]

# From the Makefiles: arguments, further sources, and flags by the pattern of a name.
ARGUMENTS = {"tst-cancel7": ["--command", "exec {self}"], "tst-cancelx7": ["--command", "exec {self}"],
             "tst-exec4": ["{self}"], "tst-stackguard1": ["--command", "{self} --child"],
             "tst-umask1": ["{self}.temp"]}
LIBRARIES = {"tst-_res1": ["tst-_res1mod2", "tst-_res1mod1"], "tst-fini1": ["tst-fini1mod"],
             "tst-compat-forwarder": ["tst-compat-forwarder-mod"], "tst-tls5": ["tst-tls5mod"]}
AUXILIARY = {"tst-cleanup4": ["nptl/tst-cleanup4aux.c"], "tst-cleanupx4": ["nptl/tst-cleanup4aux.c"]}


def flags_of(name):
    flags = []
    if name.startswith(("tst-cancelx", "tst-cleanupx", "tst-oncex", "tst-unwind")) and name != "tst-cancelx1":
        flags += ["-fexceptions", "-fasynchronous-unwind-tables"]
    if name.startswith("tst-oncey"):
        flags += ["-fno-exceptions", "-fno-asynchronous-unwind-tables"]
    if name in ("tst-cleanup2", "tst-cleanupx2"):
        flags += ["-fno-builtin"]
    return flags


# ---- building ----

def unpack():
    if (SOURCE / "support").exists():
        return
    if not ARCHIVE.exists():
        sys.exit(f"{ARCHIVE} is missing: apt-get install glibc-source")
    WORK.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xf", ARCHIVE, "-C", WORK, *(f"glibc-2.36/{part}" for part in PARTS)], check=True)


def make_shims():
    shims = WORK / "shims"
    shims.mkdir(exist_ok=True)
    (shims / "elf").mkdir(exist_ok=True)
    for header, text in MADE_UP.items():
        (shims / header).write_text(text)
    for header in SHIMS:
        (shims / header).write_bytes((SOURCE / "include" / header).read_bytes())


def compiler(*words):
    defines = [f'-D{name}="{path}"' for name, path in PATHS.items()]
    return ["gcc", "-std=gnu11", "-O2", "-g", "-w", "-D_GNU_SOURCE", "-DMODULE_NAME=testsuite", "-DTIMEOUTFACTOR=1",
            "-Dlibc_hidden_proto(name)=", "-Dattribute_hidden=",
            "-include", "limits.h", "-include", "stdbool.h", "-fno-stack-protector",
            "-U_FORTIFY_SOURCE", *defines, "-I", WORK / "shims", "-I", SOURCE, *INCLUDED, *words]


def build(argv):
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=120).returncode == 0


def at_once(function, items):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


def build_support():
    """An archive of those parts of glibc's support library that build outside its tree."""
    archive = WORK / "libsupport.a"
    if archive.exists():
        return archive
    objects = WORK / "support"
    objects.mkdir(exist_ok=True)
    sources = [path for path in sorted((SOURCE / "support").glob("*.c"))
               if not path.name.startswith(("tst-", "test-", "echo-", "shell-", "true-", "links-"))]

    def compile_one(source):
        built = objects / f"{source.stem}.o"
        return built if build(compiler("-c", source, "-o", built)) else None
    compiled = [built for built in at_once(compile_one, sources) if built]
    build(["ar", "rcs", archive, *compiled])
    print(f"support library: {len(compiled)} of {len(sources)} parts build here")
    return archive


def build_test(source):
    """The built test, or None if it does not build by itself; failures are remembered too."""
    name = source.stem
    built, failed = WORK / "tests" / name, WORK / "tests" / f"{name}.unbuilt"
    if built.exists() or failed.exists():
        return built if built.exists() else None
    auxiliary = [SOURCE / path for path in AUXILIARY.get(name, [])]
    libraries = [built.with_name(f"{library}.so") for library in LIBRARIES.get(name, [])]
    fine = build(compiler(*flags_of(name), "-I", source.parent, source, *auxiliary, "-o", built, *libraries,
                          "-Wl,-rpath,$ORIGIN", WORK / "libsupport.a", "-lpthread", "-lrt", "-ldl", "-lm"))
    if not fine:
        failed.touch()
    return built if fine else None


def build_module(source):
    """A library that some test loads or is linked with."""
    built = WORK / "tests" / f"{source.stem}.so"
    if not built.exists():
        build(compiler("-shared", "-fPIC", "-I", source.parent, source, "-o", built))


def is_module(source):
    return re.search(r"-?mod[0-9a-f]*$", source.stem) is not None


def build_all(wanted):
    unpack()
    make_shims()
    build_support()
    (WORK / "tests").mkdir(exist_ok=True)
    (WORK / "tests" / "Makefile").write_text("# Some tests open the Makefile of the directory they run in.\n" * 2000)
    everything = [path for place in ("nptl", "sysdeps/pthread") for path in sorted((SOURCE / place).glob("tst-*.c"))]
    at_once(build_module, filter(is_module, everything))
    sources = [path for path in everything
               if not is_module(path) and not path.stem.endswith("-static") and (not wanted or path.stem in wanted)]
    built = [path for path in at_once(build_test, sources) if path]
    print(f"tests: {len(built)} of {len(sources)} build by themselves")
    return built


# ---- running ----

def run_test(path, world_name):
    arguments = [word.format(self=path) for word in ARGUMENTS.get(path.name, [])]
    status, said = run_limited([path, *arguments], world_name, SECONDS + 5, WORK / "tests")
    result = {0: "pass", UNSUPPORTED: "unsupported"}.get(status) or describe_status(status)
    return Outcome(path.name, result, said)


def run_alone(tests):
    """Each test's outcome alone; those known from an earlier run are not run again."""
    store = WORK / "alone.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    for outcome in run_all(lambda path: run_test(path, "alone"), [t for t in tests if t.name not in known]):
        known[outcome.name] = outcome.result
    store.write_text(json.dumps(known, indent=1, sort_keys=True))
    return [Outcome(path.name, known[path.name]) for path in tests]


def main(arguments):
    wanted = [word for word in arguments if not word.startswith("--")]
    tests = build_all(wanted)
    alone = run_alone(tests)
    if "--alone" in arguments:
        for outcome in alone:
            if not outcome.passed:
                print(f"{outcome.name}: {outcome.result}")
        return 0
    require_library()
    os.environ["TIMEOUTFACTOR"] = str(PATIENCE)
    good = {outcome.name for outcome in alone if outcome.passed}
    exceptions = Exceptions.read("glibc")
    under_coro = run_all(lambda path: run_test(path, "coro"),
                         [path for path in tests if path.name in good and not exceptions.never_run(path.name)])
    for outcome in under_coro if wanted else []:
        print(f"{outcome.name}: {outcome.result}\n{outcome.said}")
    return compare("glibc", alone, under_coro)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
