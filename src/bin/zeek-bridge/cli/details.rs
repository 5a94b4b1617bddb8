//! Sections of the manual pages on formats and limits, which are too long for `--help`.

/// The sections for each command: headings in capitals and paragraphs, separated by empty lines.
pub(super) const DETAILS: &[(&str, &str)] = &[
    ("tap", include_str!("details/tap.txt")),
    ("record", include_str!("details/record.txt")),
    ("replay", include_str!("details/replay.txt")),
    ("probe", include_str!("details/probe.txt")),
    ("status", include_str!("details/status.txt")),
    ("decode", include_str!("details/decode.txt")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_belongs_to_a_command_and_begins_with_a_heading() {
        let command = crate::cli::command();
        for (name, text) in DETAILS {
            assert!(command.find_subcommand(name).is_some(), "{name}");
            let heading = text.lines().next().unwrap();
            assert_eq!(heading, heading.to_uppercase(), "{name}");
        }
    }
}
