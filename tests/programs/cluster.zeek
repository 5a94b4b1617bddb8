# A node of a ZeroMQ cluster whose proxy is a bridge. Prints the nodes that it finds and loses. Used by tests/bridge.
@load policy/frameworks/cluster/backend/zeromq

redef Cluster::Backend::ZeroMQ::run_proxy_thread = F;
redef Log::default_rotation_interval = 0secs;
redef exit_only_after_terminate = T;

event Cluster::node_up(name: string, id: string)
	{
	print fmt("up %s", name);
	flush_all();
	}

event Cluster::node_down(name: string, id: string)
	{
	print fmt("down %s", name);
	flush_all();
	}
