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

	# Types with a value that `print` does not show.
	type Handles: record {
		twice: function(x: count): count;
		out: file;
		digest: opaque of md5;
		seen: opaque of bloomfilter;
	};
}

redef exit_only_after_terminate = T;

function doubled(x: count): count
	{
	return x * 2;
	}

# Returns what the values do: the result of the function, the name of the file, the digest, and the members of the filter.
function used(handles: Handles): string
	{
	return cat_sep(" ", "-", handles$twice(21), handles$out, md5_hash_finish(copy(handles$digest)),
	    bloomfilter_lookup(handles$seen, "member"), bloomfilter_lookup(handles$seen, "stranger"));
	}

global values: event(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port, handles: Handles)
    &is_used;
global echo: event(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port, handles: Handles)
    &is_used;

event values(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port, handles: Handles)
	{
	Cluster::publish("zeek.cluster.manager", echo, b, c, i, d, s, a, n, p, t, v, color, pair, re, list, names, ports, handles);
	}

event echo(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    color: Color, pair: Pair, re: pattern, list: vector of string, names: set[string, count], ports: table[count] of port, handles: Handles)
	{
	print cat_sep(" ", "-", b, c, i, d, s, a, n, p, t, v, color, pair, re, list, names, ports, used(handles));
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
	local digest = md5_hash_init();
	md5_hash_update(digest, "part of a text");
	local seen = bloomfilter_basic_init(0.001, 100);
	bloomfilter_add(seen, "member");
	local handles = Handles($twice=doubled, $out=open("/dev/null"), $digest=digest, $seen=seen);
	print cat_sep(" ", "-", T, 18446744073709551615, -9223372036854775807, -7.5, "text \x01\xfe", [2001:db8::1], 10.0.0.0/8,
	    443/tcp, t, -1500msec, GREEN, pair, re, list, names, ports, used(handles));
	flush_all();
	Cluster::publish("zeek/cluster/worker", values, T, 18446744073709551615, -9223372036854775807, -7.5, "text \x01\xfe",
	    [2001:db8::1], 10.0.0.0/8, 443/tcp, t, -1500msec, GREEN, pair, re, list, names, ports, handles);
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
