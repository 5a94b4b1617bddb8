# An agent that asks each node for its name and prints the answers.
# Use it with the example node (node.zeek). To start the agent: zeek agent.zeek Broker::disable_ssl=T
# To listen on a different port, add Demo::agent_port=2152/tcp.
@if ( Version::at_least("8.1.0") )
@load policy/frameworks/cluster/backend/broker
@endif
@load policy/frameworks/management/node/api
module Demo;
export { const agent_port = 2151/tcp &redef; }
event Management::Node::API::notify_node_hello(node: string)
	{
	print "hello", node;
	Broker::publish("zeek/management/node", Management::Node::API::node_dispatch_request,
	    unique_id("demo"), vector("get_id_value", "Cluster::node"), set(node));
	}
event Management::Node::API::node_dispatch_response(reqid: string, result: Management::Result)
	{
	if ( result$success && result?$data )
		print "answer", result$node, result$data;
	else
		print "failure", result?$node ? result$node : "", result?$error ? result$error : "";
	}
event zeek_init()
	{ Broker::subscribe("zeek/management/node"); Broker::listen("127.0.0.1", agent_port); }
redef exit_only_after_terminate = T;
