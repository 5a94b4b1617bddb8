#!/usr/bin/env python3
"""The proxy of a ZeroMQ cluster, and one node, on libzmq.

With "--curve DIR", all connections use CURVE, with the keys in this directory: server_publickey, server_secretkey,
client_publickey and client_secretkey. A ZAP handler accepts this client only, as in Zeek.

Prints the address of the proxy. Then each event under /to_node is printed as a line of JSON: its parts, in hexadecimal. Each
line of stdin, "TOPIC SENDER PAYLOAD" with a hexadecimal payload, is published once the node knows a subscriber.
"""

import argparse
import json
import pathlib
import sys
import threading

import zmq
from zmq.auth.thread import ThreadAuthenticator

HOST = "tcp://127.0.0.1"
DOMAIN = "cluster"


class Keys:
    """The keys of the cluster, and the provider of the ZAP handler."""

    def __init__(self, directory):
        def read(name):
            return (directory / name).read_text().strip().encode()

        self.server = read("server_publickey"), read("server_secretkey")
        self.client = read("client_publickey"), read("client_secretkey")

    def callback(self, domain, key):
        del domain
        return key == self.client[0]

    def serve(self, socket):
        socket.curve_publickey, socket.curve_secretkey = self.server
        socket.curve_server = True
        socket.zap_domain = DOMAIN.encode()

    def connect(self, socket):
        socket.curve_publickey, socket.curve_secretkey = self.client
        socket.curve_serverkey = self.server[0]


class NoKeys:
    def serve(self, socket):
        pass

    connect = serve


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--curve", type=pathlib.Path)
    arguments = parser.parse_args()
    context = zmq.Context()
    keys = NoKeys()
    if arguments.curve:
        keys = Keys(arguments.curve)
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback(domain=DOMAIN, credentials_provider=keys)
    xsub, xpub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    # As Zeek's proxy: pass on each subscription and each cancellation.
    xpub.setsockopt(zmq.XPUB_VERBOSER, 1)
    for socket in (xsub, xpub):
        keys.serve(socket)
    ports = [socket.bind_to_random_port(HOST) for socket in (xpub, xsub)]
    threading.Thread(target=zmq.proxy, args=(xsub, xpub), daemon=True).start()

    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.RCVHWM, 0)
    keys.connect(subscriber)
    subscriber.connect(f"{HOST}:{ports[0]}")
    subscriber.subscribe(b"/to_node")
    threading.Thread(target=show, args=(subscriber,), daemon=True).start()

    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.SNDHWM, 0)
    keys.connect(publisher)
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
