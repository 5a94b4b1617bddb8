#!/usr/bin/env python3
"""The proxy of a ZeroMQ cluster, and one node, on libzmq.

Prints the address of the proxy. Then each event under /to_node is printed as a line of JSON: its parts, in hexadecimal. Each
line of stdin, "TOPIC SENDER PAYLOAD" with a hexadecimal payload, is published once the node knows a subscriber.
"""

import json
import sys
import threading

import zmq

HOST = "tcp://127.0.0.1"


def main():
    context = zmq.Context()
    xsub, xpub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    # As Zeek's proxy: pass on each subscription and each cancellation.
    xpub.setsockopt(zmq.XPUB_VERBOSER, 1)
    ports = [socket.bind_to_random_port(HOST) for socket in (xpub, xsub)]
    threading.Thread(target=zmq.proxy, args=(xsub, xpub), daemon=True).start()

    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.RCVHWM, 0)
    subscriber.connect(f"{HOST}:{ports[0]}")
    subscriber.subscribe(b"/to_node")
    threading.Thread(target=show, args=(subscriber,), daemon=True).start()

    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.SNDHWM, 0)
    publisher.connect(f"{HOST}:{ports[1]}")
    subscriptions = set()
    write({"url": f"zeromq://127.0.0.1:{ports[0]},{ports[1]}"})
    for line in sys.stdin:
        topic, sender, payload = line.split()
        topic = topic.encode()
        while not any(topic.startswith(prefix) for prefix in subscriptions):
            change = publisher.recv()
            (subscriptions.add if change[0] == 1 else subscriptions.discard)(change[1:])
        publisher.send_multipart([topic, sender.encode(), b"broker-bin-v1", bytes.fromhex(payload)])


def show(subscriber):
    while True:
        write({"parts": [part.hex() for part in subscriber.recv_multipart()]})


def write(value):
    print(json.dumps(value), flush=True)


main()
