# Answers get_id_value as a node of the Management framework does, without a cluster. It connects to an agent at 127.0.0.1:2151.
# Use it with the example agent (agent.zeek). To start the node: zeek node.zeek Broker::disable_ssl=T
# To connect to a bridge on a different port, add Demo::agent_port=2152/tcp; for a different name, Demo::node=worker-02.
@if ( Version::at_least("8.1.0") )
@load policy/frameworks/cluster/backend/broker
@endif
@load policy/frameworks/management/node/api
module Demo;
const topic = "zeek/management/node";
export { const node = "worker-01" &redef; }
export { const agent_port = 2151/tcp &redef; }
event Broker::peer_added(peer: Broker::EndpointInfo, msg: string)
	{ Broker::publish(topic, Management::Node::API::notify_node_hello, node); }
event Management::Node::API::node_dispatch_request(reqid: string, action: vector of string, nodes: set[string])
	{
	if ( |nodes| > 0 && node !in nodes )
		return;
	local result = Management::Result($reqid=reqid, $node=node);
	if ( |action| == 2 && action[0] == "get_id_value" )
		result$data = to_json(lookup_ID(action[1]));
	else
		{ result$success = F; result$error = fmt("cannot run %s", action); }
	print "request", action, result$success;
	Broker::publish(topic, Management::Node::API::node_dispatch_response, reqid, result);
	}
event zeek_init()
	{ Broker::subscribe(topic); Broker::peer("127.0.0.1", agent_port, 1sec); }
redef exit_only_after_terminate = T;
