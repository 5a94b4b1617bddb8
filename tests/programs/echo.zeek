# Answers each `values` event on /to_zeek with an `echo` event that has the same arguments. Used by tests/reference.
@load policy/frameworks/cluster/websocket/server

global values: event(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    list: vector of string, names: set[string], ports: table[count] of port) &is_used;
global echo: event(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    list: vector of string, names: set[string], ports: table[count] of port) &is_used;

event values(b: bool, c: count, i: int, d: double, s: string, a: addr, n: subnet, p: port, t: time, v: interval,
    list: vector of string, names: set[string], ports: table[count] of port)
	{
	Cluster::publish("/from_zeek", echo, b, c, i, d, s, a, n, p, t, v, list, names, ports);
	}

event zeek_init()
	{
	Cluster::subscribe("/to_zeek");
	}
