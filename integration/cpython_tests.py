#!/usr/bin/python3
"""CPython's own tests of threads, sockets, processes, signals and servers, alone and under coro.

Takes Debian's package libpython3.11-testsuite and runs each module below with regrtest, first alone, then under coro;
every single test that passes alone must pass under coro. A test that takes the rest of its module with it (crash,
time-out) counts as failed, and the module is run again without it. The outcomes alone are kept in build/cpython-tests.

    cpython_tests.py                    all modules
    cpython_tests.py test_queue ...     only these, telling all they say
    cpython_tests.py --alone ...        run alone, list what does not pass there
"""

import json
import re
import sys
import xml.etree.ElementTree

from borrowed_suite import Exceptions, Outcome, compare, describe_status, require_library, run_all, run_limited
from world import HERE, PYTHON

WORK = HERE.parent / "build" / "cpython-tests"
SECONDS = 240  # for a module
RETRIES = 4    # runs of a module without those that ended it

MODULES = """
test_thread test_threading test_threading_local test_threadedtempfile test_threadsignals test_queue test_sched
test_concurrent_futures test_contextlib test_context test_logging test_importlib.test_threaded_import
test_socket test_socketserver test_select test_selectors test_poll test_epoll test_timeout test_asyncore test_asynchat
test_ssl test_httpservers test_httplib test_urllib2_localnet test_wsgiref test_xmlrpc test_docxmlrpc test_ftplib
test_poplib test_smtplib test_imaplib test_nntplib test_telnetlib
test_subprocess test_popen test_signal test_eintr test_fork1 test_wait3 test_wait4 test_os test_posix test_pty
test_faulthandler test_multiprocessing_main_handling test_time test_file test_fileio test_io test_mmap test_fcntl
test_ioctl test_pipes test_syslog test_getpass test_tty
test_asyncio.test_events test_asyncio.test_base_events test_asyncio.test_tasks test_asyncio.test_subprocess
test_asyncio.test_unix_events test_asyncio.test_streams test_asyncio.test_server test_asyncio.test_threads
test_asyncio.test_sock_lowlevel test_asyncio.test_locks test_asyncio.test_queues
test_asyncio.test_ssl test_asyncio.test_sslproto test_asyncio.test_sendfile test_asyncio.test_selector_events
test_asyncio.test_buffered_proto test_asyncio.test_runners test_asyncio.test_futures test_asyncio.test_futures2
test_asyncio.test_taskgroups test_asyncio.test_timeouts test_asyncio.test_waitfor test_asyncio.test_context
test_asyncio.test_pep492 test_asyncio.test_protocols test_asyncio.test_transports
test_multiprocessing_fork test_multiprocessing_forkserver test_multiprocessing_spawn
test_openpty test_file_eintr test_largefile test_resource test_tempfile test_shutil test_mailbox test_dbm test_smtpd
test_urllib test_urllib2 test_robotparser test_urllib_response test_http_cookiejar
test_functools test_weakref test_gc test_decimal test_bz2 test_lzma test_zlib test_hashlib
test_atexit test_sys test_sys_settrace test_sys_setprofile test_tracemalloc test_audit test_interpreters
test__xxsubinterpreters test_contextlib_async test_coroutines test_asyncgen test_import test_ctypes
test_script_helper test_support test_cmd_line test_cmd_line_script test_repl test_runpy test_pdb test_bdb test_cprofile
test_unittest test_doctest test_warnings test_traceback test_compileall test_zipfile test_tarfile test_readline
test_locale test_random test_uuid test_platform test_crypt test_pwd test_grp test_venv test_regrtest
""".split()


def report_of(path):
    """Every test of a finished run, by its full name."""
    found = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        trouble = [child for child in case if child.tag in ("failure", "error")]
        skipped = case.get("result") != "completed" or case.find("skipped") is not None
        result = trouble[0].tag if trouble else "skipped" if skipped else "pass"
        found[case.get("name")] = Outcome(case.get("name"), result, trouble[0].text or "" if trouble else "")
    return found


def last_begun(said):
    """The test that was running when its module ended before its time."""
    begun = re.findall(r"^\w+ \((test\.[\w.]+)\)", said, re.MULTILINE)
    return begun[-1] if begun else None


def run_once(module, world_name, left_out):
    report = WORK / f"{module}-{world_name}.xml"
    report.unlink(missing_ok=True)
    directory = WORK / f"{module}-{world_name}"
    directory.mkdir(exist_ok=True)
    ignored = [word for name in left_out for word in ("--ignore", name)]
    status, said = run_limited([PYTHON, "-m", "test", "-v", "--tempdir", directory, "--junit-xml", report, *ignored,
                                module], world_name, SECONDS, directory)
    return status, said, report_of(report) if report.exists() else None


def run_module(module, world_name, left_out):
    """The outcomes of all tests of a module; those that end it early are recorded and left out of the next try."""
    fatal = {}
    for _ in range(1 + RETRIES):
        status, said, found = run_once(module, world_name, [*left_out, *fatal])
        culprit = last_begun(said)
        if found is not None or culprit is None or culprit in fatal:
            break
        fatal[culprit] = Outcome(culprit, f"ended its module: {describe_status(status)}", said)
    if found is None:
        found = {module: Outcome(module, f"never finished: {describe_status(status)}", said)}
    return [*fatal.values(), *found.values()]


def run_alone(modules, left_out):
    """The outcomes alone, by module; those known from an earlier run are not run again."""
    store = WORK / "alone.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    missing = [module for module in modules if module not in known]

    def run(module):
        known[module] = {outcome.name: outcome.result for outcome in run_module(module, "alone", left_out)}
        return []
    run_all(run, missing)
    store.write_text(json.dumps(known, indent=1, sort_keys=True))
    return [Outcome(name, result) for module in modules for name, result in known[module].items()]


def with_missing(alone, under_coro):
    """A test that passed alone and was never heard of under coro has failed there."""
    heard = {outcome.name for outcome in under_coro}
    missing = [Outcome(outcome.name, "never ran") for outcome in alone if outcome.passed and outcome.name not in heard]
    return under_coro + missing


def main(arguments):
    wanted = [word for word in arguments if not word.startswith("--")]
    modules = wanted or MODULES
    WORK.mkdir(parents=True, exist_ok=True)
    exceptions = Exceptions.read("cpython")
    left_out = [name for name in exceptions.reasons if exceptions.never_run(name)]
    alone = run_alone(modules, left_out)
    if "--alone" in arguments:
        for outcome in alone:
            if outcome.result not in ("pass", "skipped"):
                print(f"{outcome.name}: {outcome.result}")
        print(sum(outcome.passed for outcome in alone), "pass alone")
        return 0
    require_library()
    under_coro = run_all(lambda module: run_module(module, "coro", left_out), modules)
    for outcome in under_coro if wanted else []:
        if not outcome.passed and outcome.result != "skipped":
            print(f"{outcome.name}: {outcome.result}\n{outcome.said}")
    ran = [outcome for outcome in alone if outcome.name not in left_out]
    return compare("cpython", alone, with_missing(ran, under_coro))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
