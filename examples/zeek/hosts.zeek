# Announces a host on /demo/hosts to each peer, and prints the names that it receives on /demo/names.
# For the example typed_events. Start it with: zeek hosts.zeek Broker::disable_ssl=T
@if ( Version::at_least("8.1.0") )
@load policy/frameworks/cluster/backend/broker
@endif
module Demo;
export {
	type Host: record {
		ip: addr;
		services: set[port];
		name: string &optional;
	};
	global host_seen: event(host: Host, times: count);
	global host_named: event(ip: addr, name: string);
}
# A field that only this site has.
redef record Host += { owner: string &optional; };
event Broker::peer_added(endpoint: Broker::EndpointInfo, msg: string)
	{
	local host = Host($ip=10.0.0.7, $services=set(53/udp, 443/tcp), $owner="lab");
	Broker::publish("/demo/hosts", host_seen, host, 3);
	}
event host_named(ip: addr, name: string)
	{ print "named", ip, name; }
event zeek_init()
	{ Broker::subscribe("/demo/names"); Broker::listen("127.0.0.1", 9999/tcp); }
redef exit_only_after_terminate = T;
