//! `man` and `completions`: manual pages and shell completions, generated from the command line definition.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::config_schema;
use crate::output::{Failure, Output, stderr};

const NAME: &str = "zeek-bridge";

/// Generate shell completions
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Write the manual pages of the program, its commands and its configuration
///
/// `man` finds the pages in ~/.local/share/man/man1 and /usr/local/share/man/man1. To read a page in another
/// directory, pass its path: `man ./pages/zeek-bridge-tap.1`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory for the pages, such as ~/.local/share/man/man1; created if it does not exist. If it is called man1, the page
    /// of the configuration is written to man5 beside it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, NAME, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Bash {
        // clap_complete uses two different names for the state of a command with a hyphen (clap-rs/clap#6421).
        script = script.replace("zeek__subcmd__bridge", "zeek__bridge");
    }
    let mut output = Output::new();
    output.line(script.trim_end().as_bytes()).and_then(|()| output.flush())
}

/// The texts of manual pages that are not in the help.
pub(crate) struct Manual {
    /// Additional sections for some commands.
    pub(crate) details: &'static [(&'static str, &'static str)],
    /// Returns the last sections of a command's page.
    pub(crate) ends: fn(&str) -> Vec<&'static str>,
    /// The last line of each help text, which refers to the manual pages. It is left out in the pages.
    pub(crate) end_of_help: &'static str,
}

/// Writes a page for each command.
pub(crate) fn man(args: &ManArgs, command: Command, manual: &Manual) -> Result<(), Failure> {
    let out = args.out.as_ref().ok_or_else(|| {
        Failure::usage(
            "no directory for the manual pages; use --out ~/.local/share/man/man1, where `man` finds them, \
             then read one with `man zeek-bridge`",
        )
    })?;
    let failed = |path: &Path, error| {
        Failure::failed(format!(
            "cannot write {}: {error}; use a writable directory with --out",
            path.display()
        ))
    };
    fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let source = format!("{NAME} {}", command.get_version().unwrap_or_default());
    let mut count = 0u64;
    for command in all(&command) {
        let page = Man::new(command.clone()).source(source.clone()).manual("zeek-bridge");
        let path = out.join(page.get_filename());
        fs::write(&path, text(&page, &command, manual)).map_err(|error| failed(&path, error))?;
        count = count.saturating_add(1);
    }
    let folder = if out.ends_with("man1") { out.with_file_name("man5") } else { out.clone() };
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let path = folder.join("zeek-bridge.toml.5");
    fs::write(&path, config_schema::page(&source)).map_err(|error| failed(&path, error))?;
    count = count.saturating_add(1);
    stderr::print_line(format_args!(
        "wrote {count} pages to {}; start with `man zeek-bridge`",
        out.display()
    ));
    Ok(())
}

/// Returns a command and all its visible subcommands.
fn all(command: &Command) -> Vec<Command> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set());
    std::iter::once(command.clone()).chain(below.flat_map(all)).collect()
}

fn text(page: &Man, command: &Command, manual: &Manual) -> Vec<u8> {
    let mut text = Vec::new();
    // Cannot fail: it writes to memory.
    let _ = render(page, command, manual, &mut text);
    text
}

fn render(page: &Man, command: &Command, manual: &Manual, to: &mut Vec<u8>) -> io::Result<()> {
    page.render_title(to)?;
    page.render_name_section(to)?;
    page.render_synopsis_section(to)?;
    page.render_description_section(to)?;
    page.render_options_section(to)?;
    if command.has_subcommands() {
        page.render_subcommands_section(to)?;
    }
    let details = manual.details.iter().filter(|(name, _)| *name == command.get_name());
    details.into_iter().try_for_each(|(_, text)| paragraphs(text).to_writer(to))?;
    if let Some(end) = command.get_after_long_help() {
        let end = end.to_string();
        sections(end.trim_end_matches(manual.end_of_help).trim_end()).to_writer(to)?;
    }
    for end in (manual.ends)(command.get_name()) {
        sections(end).to_writer(to)?;
    }
    let mut see = Roff::new();
    see.control("SH", ["SEE ALSO"]);
    let name = command.get_display_name().unwrap_or(NAME);
    let others: Vec<String> = match name.rsplit_once('-') {
        Some((above, _)) if name != NAME => vec![format!("{above}(1)")],
        _ => {
            let mut below: Vec<&Command> = command.get_subcommands().collect();
            below.sort_by_key(|sub| sub.get_display_order());
            below.iter().map(|sub| format!("{NAME}-{}(1)", sub.get_name())).collect()
        }
    };
    see.text([roman(others.join(", "))]);
    see.to_writer(to)
}

/// Formats headings, which are in capitals, and paragraphs.
fn paragraphs(text: &str) -> Roff {
    let mut roff = Roff::new();
    for block in text.trim_end().split("\n\n").filter(|block| !block.is_empty()) {
        if block.contains(char::is_lowercase) {
            roff.control("PP", []).text([roman(block)]);
        } else {
            roff.control("SH", [block]);
        }
    }
    roff
}

/// Splits the end of a help text into sections: each `Heading:` with indented lines below it.
fn sections(end: &str) -> Roff {
    let mut roff = Roff::new();
    for block in end.split("\n\n").filter(|block| !block.is_empty()) {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        match first.strip_suffix(':') {
            Some(heading) if rest.starts_with("  ") => {
                let heading = if heading == "Exit codes" { "EXIT STATUS" } else { heading };
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
                for line in rest.lines() {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
            }
            // A paragraph of the section above.
            None if block.starts_with("  ") => {
                roff.control("PP", []);
                for line in block.lines() {
                    roff.text([roman(line.trim_start())]);
                }
            }
            _ => {
                roff.control("SH", ["NOTES"]);
                for line in block.lines() {
                    roff.text([roman(line)]);
                }
            }
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_are_a_heading_and_other_blocks_are_paragraphs() {
        let text = paragraphs("JSON\n\nOne\nline.\n\nTwo.\n").to_roff();
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with(".ie") && !line.starts_with(".el")).collect();
        assert_eq!(lines, [".SH JSON", ".PP", "One", "line.", ".PP", "Two."]);
    }

    #[test]
    fn a_heading_with_indented_lines_is_a_section() {
        let text =
            sections("Examples:\n  # one\n  a\n    b\n\n  More.\n\nExit codes:\n  0  well\n\nAll: else.")
                .to_roff();
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with(".ie") && !line.starts_with(".el")).collect();
        let expected = [
            ".SH EXAMPLES",
            ".nf",
            "# one",
            "a",
            "  b",
            ".fi",
            ".PP",
            "More.",
            ".SH \"EXIT STATUS\"",
            ".nf",
            "0  well",
            ".fi",
            ".SH NOTES",
            "All: else.",
        ];
        assert_eq!(lines, expected);
    }
}
