#!/usr/bin/env python3
"""Exchanges events over Zeek's WebSocket API with one of three Python packages.

    websocket_clients.py PACKAGE URL [--token TOKEN] [--cafile FILE]

The first line of stdin is a JSON array of arguments, VALUES. The program subscribes to `/to_client`, prints the server's first message, publishes
`values(VALUES..)` on `/from_client`, prints the next message, and closes the connection.
"""
import argparse
import json
import ssl
import sys


def event(topic, name, arguments):
    count = {"@data-type": "count", "data": 1}
    body = [{"@data-type": "string", "data": name}, {"@data-type": "vector", "data": arguments}]
    data = [count, count, {"@data-type": "vector", "data": body}]
    return json.dumps({"type": "data-message", "topic": topic, "@data-type": "vector", "data": data})


def with_websockets(url, token, context):
    """The package `websockets`: messages must be valid UTF-8, and the API is that of coroutines."""
    import asyncio

    import websockets

    async def run(send, show):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with websockets.connect(url, ssl=context, additional_headers=headers) as socket:
            for text in send:
                if text is None:
                    show(await socket.recv())
                else:
                    await socket.send(text)

    return lambda send, show: asyncio.run(run(send, show))


def with_websocket_client(url, token, context):
    """The package `websocket-client`: it sends an `Origin` header by default."""
    import websocket

    def run(send, show):
        headers = [f"Authorization: Bearer {token}"] if token else []
        options = {"context": context} if context else None
        socket = websocket.create_connection(url, header=headers, sslopt=options)
        for text in send:
            if text is None:
                show(socket.recv())
            else:
                socket.send(text)
        socket.close()

    return run


PACKAGES = {"websockets": with_websockets, "websocket-client": with_websocket_client}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("url")
    parser.add_argument("--token")
    parser.add_argument("--cafile")
    args = parser.parse_args()
    context = ssl.create_default_context(cafile=args.cafile) if args.cafile else None
    values = json.loads(sys.stdin.readline())
    # `None` stands for a message to receive.
    steps = ['["/to_client"]', None, event("/from_client", "values", values), None]
    PACKAGES[args.package](args.url, args.token, context)(steps, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
