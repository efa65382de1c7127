"""A served detector against a bare loop over the same one, and under more load than it can take.

    python benchmarks/serve_speed.py BUNDLE PICTURES [--rounds 3] [--seconds 15] [--load-s 60] [--batch-size 16]

Each round measures the bare loop (`Scorer.score_paths`, as `veriscope predict` runs it, in a process of its own), then
the server with 1, 8 and 32 clients that each send one picture a request and ask again when the answer is there. All of
a round runs within a minute or two, so that on a shared machine its ratios hold where its seconds don't. Processor time
a picture is that of the server's, or of the loop's, process alone.

Afterwards new requests come at twice the highest rate that was seen, whether or not answers do. Each answer is compared
with the bare loop's. Prints JSON.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle, islice
from pathlib import Path

BOUNDARY = "veriscope-benchmark"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

BARE = """
import json, sys, time
from itertools import cycle
from pathlib import Path
from veriscope.bundle import load_bundle
from veriscope.processes import keep_freed_memory
keep_freed_memory()
bundle, batch_size, workers, device = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
paths = [Path(line) for line in sys.stdin.readline().rstrip().split("\\t")]
scorer = load_bundle(bundle).scorer(device=device, batch_size=batch_size, num_workers=workers)
print(json.dumps([scored.score for scored in scorer.score_paths(paths)]), flush=True)
for line in sys.stdin:
    began, busy, number = time.perf_counter(), time.process_time(), 0
    answers = scorer.score_paths(cycle(paths))
    for _ in answers:
        number += 1
        if number % batch_size == 0 and time.perf_counter() - began > float(line):
            break
    print(json.dumps([number, time.perf_counter() - began, time.process_time() - busy]), flush=True)
    answers.close()
"""


class Bare:
    """The loop, in a process that waits between the rounds."""

    def __init__(self, arguments: argparse.Namespace, paths: list[Path]) -> None:
        command = [sys.executable, "-c", BARE, str(arguments.bundle), str(arguments.batch_size)]
        self.process = subprocess.Popen(
            [*command, str(arguments.workers), arguments.device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.stdin.write("\t".join(map(str, paths)) + "\n")
        self.scores = self._answer()

    def measure(self, seconds: float) -> dict[str, float]:
        """Return the loop's speed."""
        self.process.stdin.write(f"{seconds}\n")
        number, took, busy = self._answer()
        return {"images_per_s": number / took, "processor_ms": 1000 * busy / number}

    def _answer(self) -> list[float]:
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Served:
    """The server, as a person starts it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.port = arguments.port
        command = [sys.executable, "-m", "veriscope.cli", "serve", str(arguments.bundle), "--port", str(self.port)]
        command += ["--batch-size", str(arguments.batch_size), "--workers", str(arguments.workers)]
        command += ["--device", arguments.device, "--queue", "40", "--log-level", "warning", "--timeout-s", "300"]
        self.process = subprocess.Popen(command)
        for _ in range(1200):
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server has not become ready")

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, HEADERS if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def processor_s(self) -> float:
        """Return the processor time of the server's process until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return the resident memory of the server's process."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6


def form(content: bytes) -> bytes:
    """Return a request's body."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="x.jpg"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def closed_loop(served: Served, bodies: list[bytes], *, num_clients: int, seconds: float) -> dict[str, float]:
    """Return speed and waiting times of clients that each ask again when the answer is there."""
    end = time.perf_counter() + seconds
    times: list[float] = []
    finished: list[float] = []
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
        for body in islice(cycle(bodies), number, None):
            began = time.perf_counter()
            if began > end:
                break
            connection.request("POST", "/v1/predict", body, HEADERS)
            answer = connection.getresponse()
            answer.read()
            with lock:
                statuses[answer.status] += 1
                finished.append(time.perf_counter())
                times.append(finished[-1] - began)
        connection.close()

    busy = served.processor_s()
    with ThreadPoolExecutor(num_clients) as pool:
        list(pool.map(client, range(num_clients)))
    assert set(statuses) == {200}, statuses
    # From the end of a batch to the end of another: neither the start, when nothing waits, nor the end, when nothing
    # comes after.
    inside = [when for when in sorted(finished)[num_clients - 1 :] if when <= end]
    if len(inside) < 2:
        raise SystemExit(f"{seconds:g} s are too short for {num_clients} clients here: take longer --seconds")
    cuts = statistics.quantiles(times, n=100)
    return {
        "images_per_s": (len(inside) - 1) / (inside[-1] - inside[0]),
        "p50_ms": 1000 * cuts[49],
        "p95_ms": 1000 * cuts[94],
        "processor_ms": 1000 * (served.processor_s() - busy) / len(times),
    }


def overload(
    served: Served, bodies: list[bytes], scores: list[float], *, rate: float, seconds: float
) -> dict[str, object]:
    """Return what came of requests that arrive at a steady rate, whether or not answers do."""
    statuses: Counter[int] = Counter()
    times: list[float] = []
    worst, wrong = 0.0, 0
    lock = threading.Lock()

    def one(number: int) -> None:
        nonlocal worst, wrong
        began = time.perf_counter()
        status, answer = served.ask("POST", "/v1/predict", bodies[number % len(bodies)])
        took = time.perf_counter() - began
        body = json.loads(answer)
        with lock:
            statuses[status] += 1
            if status == 200:
                times.append(took)
                difference = abs(body["results"][0]["score"] - scores[number % len(bodies)])
                worst, wrong = max(worst, difference), wrong + (difference > 0.02)
            else:
                assert body["error"]["code"] == "busy", body

    memory, began = served.memory_mb(), time.perf_counter()
    with ThreadPoolExecutor(160) as pool:
        for number in count():
            due = began + number / rate
            if due - began > seconds:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            pool.submit(one, number)
    took = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100)
    return {
        "asked_per_s": rate,
        "answered_per_s": len(times) / took,
        "statuses": dict(statuses),
        "wrong_answers": wrong,
        "largest_difference_of_a_score": worst,
        "p50_ms": 1000 * cuts[49],
        "p95_ms": 1000 * cuts[94],
        "memory_grew_mb": served.memory_mb() - memory,
    }


def main() -> int:
    """Measure, print, and return 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--load-s", type=float, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--port", type=int, default=8099)
    arguments = parser.parse_args()
    paths = sorted(arguments.pictures.rglob("*.jpg"))[:64]
    bodies = [form(path.read_bytes()) for path in paths]
    bare, served = Bare(arguments, paths), Served(arguments)
    rounds = []
    try:
        for _ in range(arguments.rounds):
            found = {"bare": bare.measure(arguments.seconds)}
            for clients in (1, 8, 32):
                found[str(clients)] = closed_loop(served, bodies, num_clients=clients, seconds=arguments.seconds)
            found["bare again"] = bare.measure(arguments.seconds)
            rounds.append(found)
            print(json.dumps(found), file=sys.stderr, flush=True)
        rate = 2 * max(run["images_per_s"] for found in rounds for run in found.values())
        load = overload(served, bodies, bare.scores, rate=rate, seconds=arguments.load_s)
    finally:
        served.process.send_signal(signal.SIGINT)
        bare.process.stdin.close()
        served.process.wait(60)
    ratios = {
        clients: [
            found[clients]["images_per_s"]
            / statistics.mean((found["bare"]["images_per_s"], found["bare again"]["images_per_s"]))
            for found in rounds
        ]
        for clients in ("1", "8", "32")
    }
    print(json.dumps({"rounds": rounds, "share_of_the_bare_loop": ratios, "overload": load}, indent=1))
    return 1 if load["wrong_answers"] else 0


if __name__ == "__main__":
    sys.exit(main())
