# Answers each ping on /demo/ping with a pong on /demo/pong. Start it with: zeek ping.zeek
@if ( Version::at_least("8.1.0") )
@load policy/frameworks/cluster/backend/broker
@endif
global ping: event(text: string, n: count) &is_used;
global pong: event(text: string, n: count) &is_used;
event ping(text: string, n: count)
	{ print "ping", text, n; Broker::publish("/demo/pong", pong, text, n + 1); }
event zeek_init()
	{ Broker::subscribe("/demo/ping"); Broker::listen("127.0.0.1", 9999/tcp); }
redef exit_only_after_terminate = T;
