cat > /tmp/p.py <<'X'
import asyncio, bz2, ctypes, decimal, hashlib, json, lzma, multiprocessing, os, pathlib, re, signal, sqlite3, subprocess, sys
import tempfile, threading, time, zlib

def square(x):
    return x * x

async def sleepers():
    return await asyncio.gather(*(asyncio.sleep(0.01 * (3 - i), i) for i in range(3)))

if __name__ == "__main__":
    print(sys.version_info[:2], json.dumps({"a": [1, 2.5, None]}), re.findall(r"\d+", "a1b22"), decimal.Decimal(1) / 7)
    print(hashlib.sha256(b"x").hexdigest()[:8], zlib.crc32(b"x"), bz2.decompress(bz2.compress(b"b")), lzma.decompress(lzma.compress(b"l")))
    print(subprocess.run(["sh", "-c", "echo out; exit 3"], capture_output=True))
    print(sqlite3.connect(":memory:").execute("select 6 * 7").fetchone(), ctypes.CDLL("libc.so.6").abs(-3))
    done = []
    threads = [threading.Thread(target=lambda i=i: done.append(i)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(sorted(done), asyncio.run(sleepers()))
    r, w = os.pipe()
    sys.stdout.flush()
    if not (pid := os.fork()):
        os.write(w, b"child")
        os._exit(4)
    print(os.read(r, 10), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    with tempfile.TemporaryDirectory() as d:
        p = pathlib.Path(d, "f")
        p.write_text("t")
        print(p.stat().st_size, [e.name for e in os.scandir(d)])
    signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.1)
    try:
        1 / 0
    except ZeroDivisionError as e:
        print(repr(e))
X
python3.11 /tmp/p.py
echo 'print(input())' > /tmp/q.py
echo typed | python3.11 /tmp/q.py
python3.11 -c 'import sys; sys.exit(9)'
echo $?
