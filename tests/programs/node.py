#!/usr/bin/env python3
"""A node in Python: ./node.py --name worker-01 --connect 127.0.0.1:2151 ...

It starts `zeek-bridge node --stdio`, and answers the requests that the program writes.
"""

import json
import subprocess
import sys

bridge = subprocess.Popen(
    ["zeek-bridge", "node", "--stdio", *sys.argv[1:]],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
seen = 0

for line in bridge.stdout:
    message = json.loads(line)
    if message["type"] != "request":
        continue
    seen += 1
    match [message["action"], *message["args"]]:
        case ["get_id_value", "Cluster::node"]:
            answer = {"data": message["node"]}
        case ["get_id_value", *_]:
            answer = {"error": "unknown id"}
        case ["requests"]:
            answer = {"data": {"seen": seen}}
        case [action, *_]:
            answer = {"error": f"dispatch {action} unknown"}
    print(json.dumps({"id": message["id"], **answer}), file=bridge.stdin, flush=True)

sys.exit(bridge.wait())
