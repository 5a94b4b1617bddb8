//! Sections of the manual pages on formats and limits, which are too long for `--help`.

/// A heading and its paragraphs, which are separated by empty lines.
pub(crate) type Section = (&'static str, &'static str);

/// The sections of each command.
pub(crate) const DETAILS: &[(&str, &[Section])] = &[
    (
        "tap",
        &[
            (
                "TEXT",
                "On a terminal, each event is a line in Zeek's notation: the time (UTC), the first digits of the peer's \
                 endpoint id, the topic, and name(arguments). Other messages begin with a word: log create, log write, \
                 identifier, value. A batch is printed as one line for each of its messages.

Control characters and others that affect a terminal are escaped, as \\u{1b}. Lines are cut at the width of the terminal, \
                 unless --wide is given.",
            ),
            (
                "JSON",
                "Elsewhere, each message is a line of JSON. An event of Zeek has \"peer\", \"topic\", \"event\" (its name), \
                 \"args\" and \"metadata\" (null, or a list of {\"id\", \"value\"}). Any other message has \"peer\", \
                 \"topic\" and \"value\". Values have the format of Broker's JSON, {\"@data-type\": .., \"data\": ..}.

With --identity, \"identity\" follows \"peer\": null, or the \"subject\", \"sans\" (a list such as [\"DNS:a.example\", \
                 \"IP:192.0.2.1\"]) and \"sha256\" (the fingerprint in hex) of the peer's certificate.

--event and --node select single messages of a batch, except that JSON prints a complete batch if any of its messages \
                 matches.",
            ),
            (
                "STATISTICS",
                "With --stats, a terminal shows a table that is updated, highest rate first (without bytes and shares if \
                 there are fewer than 100 columns). With --format text elsewhere, a table is printed for each interval; \
                 otherwise a line of JSON.

The JSON has \"seconds\" (since the start), \"interval\" (its length), \"end\", \"peers\", \"all\" and \"rows\" (those with \
                 messages in the interval). Each row has \"count\" and \"bytes\" (so far), \"rate\" (messages per second) \
                 and \"bytes_per_second\" (in the interval), \"share\" (of all messages so far) and \"last\" (the time of \
                 the last message). The last line has \"end\": true and the total time as its interval.

There are at most 1000 rows, and names are cut to 256 bytes; further rows are counted together as \"others\". The bytes of a \
                 batch are divided evenly between its messages.",
            ),
            (
                "LIMITS",
                "If messages arrive faster than stdout accepts them, up to 262144 of them (or 64 MiB) are queued, and \
                 further ones are dropped.",
            ),
        ],
    ),
    (
        "record",
        &[
            (
                "FILES",
                "The directory of a connection contains connector.bin and listener.bin (all bytes of each side), \
                 frames.jsonl (each frame, as printed by decode), and meta.json.

Several recorders may share a directory: each removes its own recordings and those of recorders that have ended, and holds a \
                 lock on .zeek-bridge-RUN.lock there to show that it is running. --rotate counts all files of a recording, \
                 which exceeds the size by at most its last frames.",
            ),
            (
                "REDACTION",
                "--redact replaces strings, addresses and subnets in the values of events, of store commands and of all \
                 other messages, each by the same replacement in all recordings of one run. Addresses keep common \
                 prefixes. Metadata, the rows of logs (with zeros) and the descriptions of refusals are replaced as well. \
                 Bytes that are not a frame are replaced with zeros.

Not replaced are topics, filters, names of events, of logs and their columns; numbers, ports, times, intervals, booleans, \
                 enums; UUIDs and endpoint ids; the sizes of containers; pings.",
            ),
        ],
    ),
    (
        "replay",
        &[(
            "COMPARISON",
            "Endpoint ids are translated to those of the live peering: in the handshake, in envelopes, and in topics and \
             strings. Other UUIDs, and the first argument of an event whose name ends in _request, may differ; each must be \
             answered with the one that was received.

Messages are compared by value and must arrive in the order of their topic. Filters are compared at the end. Not compared \
             are pings (which are answered), network timestamps of events, ttl, and which side subscribed first. All other \
             times are compared; see --ignore.",
        )],
    ),
    (
        "decode",
        &[(
            "JSON",
            "For a capture or a recording, each connection begins with {\"connection\", \"start\", \"protocol\"}: \
             \"broker\", \"tls\" or \"other\", with a \"note\" on what cannot be read and how it could be. Each frame is \
             {\"connection\", \"index\", \"from\", \"t_us\", \"offset\", \"length\", \"phase\"} with its \"message\" \
             (handshake) or \"envelope\" (after it). {\"connection\", .., \"error\"} reports malformed or missing data.

With --value or --envelope, an invalid line is printed as {\"error\", \"offset\", \"line\"}, where offset is the position of \
             the error in bytes, and decoding continues with the next line.",
        )],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_belongs_to_a_command_and_has_a_heading() {
        let command = crate::cli::command();
        for (name, sections) in DETAILS {
            assert!(command.find_subcommand(name).is_some(), "{name}");
            for (heading, text) in *sections {
                assert_eq!(*heading, heading.to_uppercase());
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
        }
    }
}
