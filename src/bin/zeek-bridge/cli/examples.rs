//! The examples in `--help`.

use clap::Command;

use super::manual::END_OF_HELP;

/// The examples of each command. A line that begins with `#` explains the next lines.
const EXAMPLES: &[(&[&str], &str)] = &[
    (
        &["run"],
        "
  # Check the configuration, then run the bridge
  zeek-bridge check bridge.toml && zeek-bridge run bridge.toml
  # Install a systemd service
  zeek-bridge run --print-unit | sudo tee /etc/systemd/system/zeek-bridge.service",
    ),
    (
        &["status"],
        "
  # The state of the bridge that runs as a system service, or as this user
  zeek-bridge status
  # Rates, latency and drops, every 5 seconds
  zeek-bridge status --watch 5s
  # A bridge with another socket: the number of peers of each link
  zeek-bridge status --config bridge.toml --format json | jq '.links[] | {name, peers: (.peers | length)}'",
    ),
    (
        &["demo"],
        "
  zeek-bridge demo
  # Only the comparison of each answer with that of Zeek
  zeek-bridge demo | jq -c 'select(.action) | [.node, .action, .agrees]'
  # The live page of a bridge, with a small cluster at work
  zeek-bridge demo --serve",
    ),
    (
        &["init"],
        "
  zeek-bridge init bridge.toml && zeek-bridge check bridge.toml
  # Print the configuration
  zeek-bridge init -",
    ),
    (
        &["certs"],
        "
  zeek-bridge certs init --dir pki && zeek-bridge certs issue worker-1 --dir pki",
    ),
    (
        &["certs", "init"],
        "
  zeek-bridge certs init --dir pki",
    ),
    (
        &["certs", "renew"],
        "
  zeek-bridge certs renew worker-1 --dir pki",
    ),
    (
        &["certs", "issue"],
        "
  zeek-bridge certs issue worker-1 --san DNS:worker-1.sensors.example --san IP:192.0.2.7 --dir pki",
    ),
    (
        &["curve"],
        "
  zeek-bridge curve keygen server --out keys && zeek-bridge curve keygen client --out keys",
    ),
    (
        &["curve", "keygen"],
        "
  # Write keys/worker-1_publickey and keys/worker-1_secretkey
  zeek-bridge curve keygen worker-1 --out keys
  # Print both keys
  zeek-bridge curve keygen",
    ),
    (
        &["check"],
        "
  zeek-bridge check bridge.toml",
    ),
    (
        &["config-schema"],
        "
  zeek-bridge config-schema > bridge.schema.json",
    ),
    (
        &["node"],
        r#"
  # Connect to an agent on this host, with these variables
  echo '{"Cluster::node": "worker-01"}' > values.json
  zeek-bridge node --name worker-01 --values values.json \
    -c 127.0.0.1:2151 --tls off
  # Pass requests to a program
  zeek-bridge node --name worker-01 --exec ./answer.sh \
    -c zeek.example:2151 --cafile ca.pem --certificate node.pem --keyfile node.key
  # With environment variables that Zeek's own nodes also use
  CLUSTER_NODE=worker-01 ZEEK_AGENT_PORT=2151/tcp zeek-bridge node --tls anonymous"#,
    ),
    (
        &["dispatch"],
        "
  # Listen as an agent, and send the request to the first node that connects
  zeek-bridge dispatch -l 0.0.0.0:2151 --tls anonymous get_id_value Cluster::node
  # Send the request to two nodes through a bridge
  zeek-bridge dispatch -c 127.0.0.1:2151 --tls off --nodes worker-01,worker-02 \\
    get_id_value Site::local_nets",
    ),
    (
        &["tap"],
        "
  # Everything that a Zeek with default settings publishes
  zeek-bridge tap -c 127.0.0.1:9999 --tls anonymous
  # Messages about one node, with reconnects
  zeek-bridge tap -c 127.0.0.1:2151 --tls off -t zeek/ --node worker-01 --follow
  # The rate of each event, every second
  zeek-bridge tap -c 127.0.0.1:9999 --tls anonymous --event 'Cluster::*' --stats
  # The events of a ZeroMQ cluster with CURVE
  zeek-bridge tap -c zeromq://zeek.example:27760 --curve-server-key server_publickey \\
    --curve-public-key client_publickey --curve-secret-key client_secretkey
  # The logs of a ZeroMQ cluster, as one of its loggers
  zeek-bridge tap --logs -l zeromq://127.0.0.1:5557 | jq -c 'select(.path == \"conn\") | .row'
  # With the address and certificates of a profile
  zeek-bridge tap --profile prod -t zeek/ --format text --wide | less",
    ),
    (
        &["probe"],
        "
  zeek-bridge probe zeek.example:9999
  # With certificates for mutual TLS; one line of JSON
  zeek-bridge probe --cafile ca.pem --certificate our.pem --keyfile our.key --format json zeek.example:9999
  # Whether the keys of a ZeroMQ cluster with CURVE are accepted
  zeek-bridge probe zeromq://zeek.example:27760 --curve-server-key server_publickey \\
    --curve-public-key client_publickey --curve-secret-key client_secretkey",
    ),
    (
        &["publish"],
        r#"
  # One event
  zeek-bridge publish -c 127.0.0.1:9999 --tls anonymous -t /demo/ping ping string:hi count:7
  # The same event from stdin
  echo '{"event": "ping", "args": ["hi", {"@data-type": "count", "data": 7}]}' |
    zeek-bridge publish -c 127.0.0.1:9999 --tls anonymous -t /demo/ping
  # One event to the workers of a ZeroMQ cluster that uses JSON
  zeek-bridge publish -c zeromq://127.0.0.1:27760 --event-format json -t zeek.cluster.worker ping string:hi count:7
  # Publish the output of `tap` again, and wait at most 10 seconds for a subscriber
  zeek-bridge publish -c 127.0.0.1:9999 --tls anonymous -t /demo/again --wait 10s < tap.jsonl"#,
    ),
    (
        &["record"],
        "
  # Between an agent that listens at 2151 and nodes that connect to 2152
  zeek-bridge record -l 127.0.0.1:2152 -c 127.0.0.1:2151 --tls off --out recordings
  # Redacted, with at most 20 recordings of about 64 MiB
  zeek-bridge record -l 127.0.0.1:2152 -c 127.0.0.1:2151 --tls anonymous \\
    --out recordings --redact --rotate 64MiB --keep 20",
    ),
    (
        &["replay"],
        "
  # Act as the recorded connector, to an endpoint that listens
  zeek-bridge replay recordings/20260101T000000Z-5c1d09ae-0001 -c 127.0.0.1:2151 --tls off
  # Act as the recorded listener, and ignore a value that always differs
  zeek-bridge replay recordings/20260101T000000Z-5c1d09ae-0001 -l 127.0.0.1:2151 --tls off \\
    --ignore '*.args[0][2]' --format json",
    ),
    (
        &["decode"],
        "
  # A table for each connection of a capture, then a line for each frame
  zeek-bridge decode --summary peering.pcap
  zeek-bridge decode peering.pcap | jq 'select(.envelope.event)'
  # A line for each log row of a cluster over ZeroMQ
  zeek-bridge decode cluster.pcap | jq 'select(.kind == \"logs\") | {path, row: .rows[]}'
  # Live traffic, if Zeek has the option Broker::disable_ssl=T
  sudo tcpdump -i lo -U -w - port 9999 | zeek-bridge decode -
  # Decode one value
  echo 020000000000000005 | zeek-bridge decode --value",
    ),
    (
        &["encode"],
        r#"
  echo '{"@data-type": "count", "data": 5}' | zeek-bridge encode"#,
    ),
    (
        &["bench", "relay"],
        "
  # A bridge that is started for the benchmark, with ten subscribers
  zeek-bridge bench relay --peers 10 --duration 10s
  # A running relay, with its CPU time and memory
  zeek-bridge bench relay --publish-to 127.0.0.1:9999 --tls off --count 1000000 --pid 4711
  # A bridge with 100 WebSocket clients
  zeek-bridge bench relay --subscribe-as websocket --peers 100
  # A Zeek, from Broker to its WebSocket server
  zeek-bridge bench relay --publish-to 127.0.0.1:9999 --tls off --subscribe-at ws://127.0.0.1:27759",
    ),
    (
        &["completions"],
        "
  zeek-bridge completions bash > ~/.local/share/bash-completion/completions/zeek-bridge
  zeek-bridge completions zsh > /usr/local/share/zsh/site-functions/_zeek-bridge
  zeek-bridge completions fish > ~/.config/fish/completions/zeek-bridge.fish",
    ),
    (
        &["man"],
        "
  zeek-bridge man --out ~/.local/share/man/man1
  man zeek-bridge-node",
    ),
];

/// The examples of the program itself.
const PROGRAM: &str = "
  # Identify an endpoint, and the options that reach it
  zeek-bridge probe 127.0.0.1:9999
  # Help on one command
  zeek-bridge help node";

/// Adds the examples to the long help of each command. Adds to each help where to find more information.
pub(crate) fn add(command: Command) -> Command {
    let command = add_to(with_end(command), &[], PROGRAM);
    EXAMPLES.iter().fold(command, |command, (path, text)| add_to(command, path, text))
}

fn with_end(command: Command) -> Command {
    command.after_help(END_OF_HELP).mut_subcommands(with_end)
}

fn add_to(command: Command, path: &[&str], text: &str) -> Command {
    match path.split_first() {
        Some((name, rest)) => command.mut_subcommand(name, |command| add_to(command, rest, text)),
        None => command.after_long_help(format!("Examples:{text}\n\n{END_OF_HELP}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// A command that only has subcommands.
    const WITHOUT: &str = "zeek-bridge bench";

    /// Returns every command with its full name.
    fn commands() -> Vec<(String, Command)> {
        fn below(name: &str, command: &Command, all: &mut Vec<(String, Command)>) {
            for sub in command.get_subcommands() {
                let name = format!("{name} {}", sub.get_name());
                below(&name, sub, all);
                all.push((name, sub.clone()));
            }
        }
        let mut all = Vec::new();
        below("zeek-bridge", &add(Cli::command()), &mut all);
        all
    }

    /// Returns the examples of a command, with continued lines joined.
    fn examples(command: &Command) -> Vec<String> {
        let help = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
        let help = help.unwrap_or_default();
        let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        let block: Vec<&str> = lines.take_while(|line| line.starts_with("  ")).collect();
        block.join("\n").replace("\\\n", " ").replace("|\n", "| ").lines().map(str::to_owned).collect()
    }

    /// Splits a line into commands and their words, like a shell.
    fn words(line: &str) -> Vec<Vec<String>> {
        let mut commands = vec![Vec::new()];
        let (mut word, mut quoted, mut any) = (String::new(), false, false);
        for letter in line.chars().chain([' ']) {
            match letter {
                '\'' => (quoted, any) = (!quoted, true),
                _ if quoted => word.push(letter),
                '|' | '&' | '<' | '>' | ' ' => {
                    if any || !word.is_empty() {
                        commands.last_mut().unwrap().push(std::mem::take(&mut word));
                        any = false;
                    }
                    if letter != ' ' {
                        commands.push(Vec::new());
                    }
                }
                '"' | '$' | '`' | '\\' | ';' => panic!("{letter:?} is not supported: {line}"),
                _ => word.push(letter),
            }
        }
        assert!(!quoted, "{line}");
        commands
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        for (name, command) in commands() {
            let mut own = 0;
            let lines = examples(&command);
            for line in lines.iter().map(|line| line.trim()).filter(|line| !line.starts_with('#')) {
                for words in words(line) {
                    let Some(at) = words.iter().position(|word| word == "zeek-bridge") else { continue };
                    if let Err(error) = add(Cli::command()).try_get_matches_from(&words[at..])
                        // The environment variables in front of the command contain the address of the agent.
                        && !(at > 0 && error.kind() == clap::error::ErrorKind::MissingRequiredArgument)
                    {
                        panic!("{line}\n{error}");
                    }
                    own += u32::from(words[at..].join(" ").starts_with(&name));
                }
            }
            assert!(own > 0 || name == WITHOUT, "{name} has no example of its own: {lines:?}");
        }
    }

    #[test]
    fn lines_are_split_like_in_a_shell() {
        assert_eq!(words("a 'b c'>d | e ''"), [vec!["a", "b c"], vec!["d"], vec!["e", ""]]);
    }
}
