#!/usr/bin/env python3
"""Clients on libzmq of a proxy of a ZeroMQ cluster, or of a logger.

zeromq_clients.py SCENARIO ADDRESS..., where an address is that of the proxy's XPUB and that of its XSUB, or that of a logger. The
keys of CURVE are in the variables SERVER_KEY, PUBLIC_KEY and SECRET_KEY. An error ends the program with a traceback.
"""

import os
import sys

import zmq

CONTEXT = zmq.Context()
SENDER = b"zeromq_worker-1_host_1_N"
# Long enough for a busy machine.
TIMEOUT_MS = 60_000


def connect(kind, address, **options):
    socket = CONTEXT.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
    socket.setsockopt(zmq.SNDTIMEO, TIMEOUT_MS)
    if "SERVER_KEY" in os.environ:
        socket.curve_serverkey = os.environ["SERVER_KEY"].encode()
        socket.curve_publickey = os.environ["PUBLIC_KEY"].encode()
        socket.curve_secretkey = os.environ["SECRET_KEY"].encode()
    for option, value in options.items():
        socket.setsockopt(getattr(zmq, option), value)
    socket.connect(address)
    return socket


def expect(received, expected):
    assert received == expected, (received, expected)


def publish(publisher, topic, payload):
    publisher.send_multipart([topic, SENDER, b"broker-bin-v1", payload])


def subscriptions(xpub, xsub, payload):
    """Repeated subscriptions are passed on, and cancelled when the last subscriber is gone."""
    publisher = connect(zmq.XPUB, xsub, XPUB_VERBOSER=1)
    one, other = connect(zmq.SUB, xpub), connect(zmq.XSUB, xpub)
    one.subscribe(b"/t")
    expect(publisher.recv(), b"\x01/t")
    other.send(b"\x01/t")
    expect(publisher.recv(), b"\x01/t")
    late = connect(zmq.XPUB, xsub)
    expect(late.recv(), b"\x01/t")
    for sender in publisher, late:
        publish(sender, b"/t/x", payload)
        for receiver in one, other:
            expect(receiver.recv_multipart(), [b"/t/x", SENDER, b"broker-bin-v1", payload])
    one.close()
    other.send(b"\x01/u")
    expect(publisher.recv(), b"\x01/u")
    other.close()
    expect(sorted([publisher.recv(), publisher.recv()]), [b"\x00/t", b"\x00/u"])


def plain_publisher(xpub, xsub, payload):
    """PUB and SUB know no subscriptions of their own, and are served, too."""
    publisher, subscriber = connect(zmq.PUB, xsub), connect(zmq.SUB, xpub)
    subscriber.subscribe(b"")
    subscriber.setsockopt(zmq.RCVTIMEO, 50)
    while True:
        # Dropped until the subscription has arrived.
        publish(publisher, b"/t", payload)
        try:
            return expect(subscriber.recv_multipart(), [b"/t", SENDER, b"broker-bin-v1", payload])
        except zmq.Again:
            pass


def many(xpub, xsub, payload):
    """Events arrive in order, and none is lost, although another subscriber reads nothing."""
    publisher = connect(zmq.XPUB, xsub, SNDHWM=0)
    stopped = connect(zmq.SUB, xpub, RCVHWM=1, RCVBUF=4096)
    stopped.subscribe(b"/t/")
    expect(publisher.recv(), b"\x01/t/")
    reading = connect(zmq.SUB, xpub, RCVHWM=0)
    reading.subscribe(b"/t")
    expect(publisher.recv(), b"\x01/t")
    count = 100_000
    for number in range(count):
        publish(publisher, b"/t/%d" % number, payload)
    for number in range(count):
        expect(reading.recv_multipart()[0], b"/t/%d" % number)
    expect(len(stopped.recv_multipart()), 4)


def restart(xpub, xsub, payload):
    """Clients connect again after the proxy was started again."""
    publisher, subscriber = connect(zmq.XPUB, xsub, XPUB_VERBOSE=1), connect(zmq.SUB, xpub)
    subscriber.subscribe(b"/t")
    expect(publisher.recv(), b"\x01/t")
    print("connected", flush=True)
    # A SUB of libzmq subscribes again only while it is used. An XPUB keeps the subscriptions of a lost connection, and reports the
    # same one again.
    while not publisher.poll(10):
        subscriber.poll(10)
    expect(publisher.recv(), b"\x01/t")
    publish(publisher, b"/t", payload)
    expect(subscriber.recv_multipart()[3], payload)


def refused(xpub, _xsub, _payload):
    """A client with other keys, or without keys, gets nothing."""
    subscriber = connect(zmq.SUB, xpub)
    monitor = subscriber.get_monitor_socket()
    subscriber.subscribe(b"")
    while True:
        event = int.from_bytes(monitor.recv_multipart()[0][:2], sys.byteorder)
        assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
        if event in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_DISCONNECTED):
            return


def logs(address, _, payload):
    """A batch for each of many numbers, which is the sender."""
    pusher = connect(zmq.PUSH, address, SNDHWM=0)
    pusher.setsockopt(zmq.LINGER, TIMEOUT_MS)
    for number in range(1000):
        pusher.send_multipart([b"log-write", b"%d" % number, b"zeek-bin-serializer", payload])
    pusher.close()


def main():
    scenario, one, other, payload = sys.argv[1:]
    globals()[scenario](one, other, bytes.fromhex(payload))
    CONTEXT.destroy()
    print("done", flush=True)


main()
