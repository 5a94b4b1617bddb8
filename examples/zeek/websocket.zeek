# Serves Zeek's WebSocket API on port 27759, and answers `ping` events: zeek examples/zeek/websocket.zeek
@load policy/frameworks/cluster/websocket/server

global ping: event(text: string, n: count) &is_used;
global pong: event(text: string, n: count) &is_used;

event ping(text: string, n: count)
	{
	print "ping", text, n;
	Cluster::publish("/demo/pong", pong, text, n + 1);
	}

event zeek_init()
	{
	Cluster::subscribe("/demo/ping");
	}
