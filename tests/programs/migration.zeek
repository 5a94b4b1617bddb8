# Two Zeeks with different cluster back ends exchange one value of each type over a bridge. The one that connects to a bridge with
# Broker sends the event `values`, and the other one answers with `echo`. Used by tests/bridge.
module Migration;

export {
	# The port of the bridge. 0: this Zeek answers.
	const bridge = 0/tcp &redef;

	type Color: enum { RED, GREEN };

	type Pair: record {
		name: string;
		number: count &optional;
		missing: addr &optional;
	};
}

redef exit_only_after_terminate = T;

global values: event(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port)
    &is_used;
global echo: event(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port)
    &is_used;

event values(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port)
	{
	Cluster::publish("zeek.cluster.manager", echo, b, c, i, d, s, a, n, p, t, v, color, pair, re, list, names, ports);
	}

event echo(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port)
	{
	print cat_sep(" ", "-", b, c, i, d, s, a, n, p, t, v, color, pair, re, list, names, ports);
	flush_all();
	terminate();
	}

function send()
	{
	local t = double_to_time(1681827194.0);
	local pair = Pair($name="caf\xc3\xa9\x00\xff", $number=7);
	local list = vector("b", "a");
	local names: set[string, count] = { ["x", 1] };
	local ports: table[count] of port = { [1] = 53/udp };
	local re = /a[^b]+/;
	print cat_sep(" ", "-", T, 18446744073709551615, -9223372036854775807, -7.5, "text \x01\xfe", [2001:db8::1], 10.0.0.0/8,
	    443/tcp, t, -1500msec, GREEN, pair, re, list, names, ports);
	flush_all();
	Cluster::publish("zeek/cluster/worker", values, T, 18446744073709551615, -9223372036854775807, -7.5, "text \x01\xfe",
	    [2001:db8::1], 10.0.0.0/8, 443/tcp, t, -1500msec, GREEN, pair, re, list, names, ports);
	}

event zeek_init()
	{
	if ( bridge == 0/tcp )
		{
		Cluster::subscribe("zeek.cluster.worker");
		return;
		}
	Cluster::subscribe("zeek/cluster/manager");
	Broker::peer("127.0.0.1", bridge);
	}

event Broker::peer_added(endpoint: Broker::EndpointInfo, msg: string)
	{
	send();
	}
