"""A load against a Service: one request after the other, each by a connection of its own.

python3 load.py HOST PORT PATH LOG runs until SIGTERM, and then writes what came of it to LOG.
"""

import http.client
import json
import signal
import sys
import time

ended = False


def end(*_: object) -> None:
    global ended
    ended = True


def main(host: str, port: str, path: str, log: str) -> None:
    signal.signal(signal.SIGTERM, end)
    lost: list[str] = []
    answers: dict[str, int] = {}
    longest = 0.0
    while not ended:
        began = time.monotonic()
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode().strip()
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            answers[text] = answers.get(text, 0) + 1
        except (OSError, http.client.HTTPException) as error:
            lost.append(f"{time.time():.3f} {error!r}")
        finally:
            connection.close()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.02)
    with open(log, "w") as file:
        json.dump({"answers": answers, "lost": lost, "longest": round(longest, 3)}, file)


main(*sys.argv[1:])
