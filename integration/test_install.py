"""Installed elsewhere, the launcher finds its library there, and programs with threads run."""

import re
import subprocess

from world import LAUNCHER, PYTHON, World

MAPS = "import threading; t = threading.Thread(target=lambda: print(open('/proc/self/maps').read())); t.start(); t.join()"


def test_installed(tmp_path):
    subprocess.run(["cmake", "--install", LAUNCHER.parent, "--prefix", tmp_path], check=True, capture_output=True, timeout=60)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "bin/coro", "lib/libcoro.so"]
    done = subprocess.run([tmp_path / "bin/coro", "run", "--stats", PYTHON, "-c", MAPS], env=World("alone", "/").environment(),
                          capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "fibers made 1," in done.stderr, done
    assert set(re.findall(r"\S*libcoro\S*", done.stdout)) == {f"{tmp_path}/lib/libcoro.so"}
