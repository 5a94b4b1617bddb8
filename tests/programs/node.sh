#!/bin/sh
# A node in shell: zeek-bridge node --exec ./node.sh --name worker-01 --connect 127.0.0.1:2151 ... It is run once for
# each dispatch, with the action and its arguments.
case "$1 $2" in
"get_id_value Cluster::node") printf '"%s"\n' "$ZEEK_BRIDGE_NODE" ;;
get_id_value*)
    echo "unknown id" >&2
    exit 1
    ;;
"kernel ") printf '{"name": "%s", "release": "%s"}\n' "$(uname -s)" "$(uname -r)" ;;
*)
    echo "dispatch $1 unknown" >&2
    exit 1
    ;;
esac
