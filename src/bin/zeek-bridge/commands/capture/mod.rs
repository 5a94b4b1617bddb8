//! Reads captures and recordings. The link layer, TCP, connections and the protocol each have their own module.

mod connection;
mod file;
mod folder;
mod link;
mod protocol;
mod report;
mod summary;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::BytesMut;

use self::file::Packets;
pub(crate) use self::file::is_capture;
use self::link::{Encapsulation, Found};
use self::report::{Lines, Report};
use self::summary::Summary;
use self::table::{Table, Tally};
use crate::input::{self, Input};
use crate::output::{Failure, Output, Progress, progress, stderr};

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A line of JSON for each frame.
    Frames,
    /// A table for each connection.
    Tables,
    /// A line of JSON for each connection.
    Objects,
}

/// Reads a capture file, or the folder of a recording.
pub(crate) fn run(path: &Path, ports: &[u16], style: Style) -> Result<(), Failure> {
    if path.is_dir() {
        if !ports.is_empty() {
            return Err(Failure::usage("--port is for captures: a recording does not contain ports"));
        }
        let shown = shows(style, path).then(|| Progress::new(None, "frames"));
        let tally = with_report(style, |report| folder::read(path, report, shown))?;
        return result_of(&tally);
    }
    let mut input = input::open(Some(path))?;
    if shows(style, path) {
        input = input.shown();
    }
    let mut first = BytesMut::new();
    while first.len() < 4 && input.read_some(&mut first)? > 0 {}
    if first.starts_with(&[0x1f, 0x8b]) {
        return Err(Failure::failed(format!(
            "{} is compressed: gunzip -c FILE | zeek-bridge decode -",
            input.name()
        )));
    }
    if !is_capture(&first) {
        return Err(Failure::failed(format!(
            "{} is neither a capture of tcpdump or Wireshark (pcap, pcapng) nor the folder of a recording; for other \
             input, use --value, --envelope or --stream",
            input.name()
        )));
    }
    with_report(style, |report| capture(input, first, ports, report))
}

/// Returns whether to show the progress. It is not needed for frames, whose lines are printed immediately. Connections are
/// printed only when they end.
fn shows(style: Style, from: &Path) -> bool {
    style != Style::Frames || progress::is_free(Some(from))
}

fn with_report<T>(
    style: Style,
    read: impl FnOnce(&mut dyn Report) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let output = Output::new();
    let mut report: Box<dyn Report> = match style {
        Style::Frames => Box::new(Lines(output)),
        Style::Tables => Box::new(Summary::new(output, false)),
        Style::Objects => Box::new(Summary::new(output, true)),
    };
    let result = read(report.as_mut());
    report.pause()?;
    result
}

fn capture(input: Input, first: BytesMut, ports: &[u16], report: &mut dyn Report) -> Result<(), Failure> {
    let mut packets = Packets::new(input, first);
    let mut table = Table::default();
    let mut skipped = Skipped::default();
    let read = loop {
        let packet = match packets.next(&mut || report.pause()) {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        skipped.packets = skipped.packets.saturating_add(1);
        let count = match link::segment(packet.link, packet.data) {
            Found::Segment(segment) => {
                skipped.segments = skipped.segments.saturating_add(1);
                let is_selected = |port| ports.is_empty() || ports.contains(&port);
                if is_selected(segment.from.port()) || is_selected(segment.to.port()) {
                    table.segment(&segment, packet.t_ns, report)?;
                }
                continue;
            }
            Found::UnknownLink => {
                // A file may have thousands of interfaces.
                if skipped.links.len() < 16 && skipped.links.insert(packet.link) {
                    stderr::print_line(format_args!("warning: {}", link::unknown(packet.link)));
                }
                skipped.add(Encapsulation::Link(packet.link));
                continue;
            }
            Found::Fragment => &mut skipped.fragments,
            Found::Truncated => &mut skipped.truncated,
            Found::Other(encapsulation) => {
                skipped.add(encapsulation);
                continue;
            }
        };
        *count = count.saturating_add(1);
    };
    table.finish(report)?;
    report.pause()?;
    skipped.warn();
    read?;
    if table.tally.connections == 0 {
        let ports = if ports.is_empty() { "" } else { " with these ports" };
        return Err(Failure::failed(format!(
            "it contains no TCP connection{ports}: {}; check that it was captured on the right interface",
            skipped.counts()
        )));
    }
    result_of(&table.tally)
}

/// Counts of packets, most of which are not read.
#[derive(Default)]
struct Skipped {
    packets: u64,
    segments: u64,
    fragments: u64,
    truncated: u64,
    links: BTreeSet<i32>,
    others: BTreeMap<Encapsulation, u64>,
}

/// Maximum number of kinds of packets in a message.
const MAX_KINDS: usize = 8;

impl Skipped {
    fn add(&mut self, encapsulation: Encapsulation) {
        // Kinds have numbers of at most 16 bits, so the map has at most a few megabytes.
        let count = self.others.entry(encapsulation).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns the counts by kind, such as `123 packets: 120 GRE, 3 PPPoE`.
    fn counts(&self) -> String {
        let packets = self.packets;
        let mut kinds = list(self.others.iter());
        let counted = [(self.fragments, "IP fragments"), (self.truncated, "TCP without the complete header")];
        for (count, name) in counted.into_iter().filter(|(count, _)| *count > 0) {
            kinds.insert(0, format!("{count} {name}"));
        }
        if self.segments > 0 || packets == 0 || kinds.is_empty() {
            kinds.insert(0, format!("{} TCP", self.segments));
        }
        format!("{packets} packets: {}", kinds.join(", "))
    }

    fn warn(&self) {
        let tunnels = list(self.others.iter().filter(|(encapsulation, _)| encapsulation.is_tunnel()));
        if !tunnels.is_empty() {
            stderr::print_line(format_args!(
                "warning: packets in an unsupported encapsulation: {}; capture where they are plain IP, or remove the outer \
                 headers first",
                tunnels.join(", ")
            ));
        }
        if self.fragments > 0 {
            stderr::print_line(format_args!(
                "warning: {} packets are IP fragments, which are not reassembled: their content is missing",
                self.fragments
            ));
        }
        if self.truncated > 0 {
            stderr::print_line(format_args!(
                "warning: the TCP header of {} packets was not captured; capture complete packets with tcpdump -s 0",
                self.truncated
            ));
        }
    }
}

/// Returns the kinds with their counts, the most frequent first.
fn list<'a>(kinds: impl Iterator<Item = (&'a Encapsulation, &'a u64)>) -> Vec<String> {
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort_by_key(|(encapsulation, count)| (std::cmp::Reverse(**count), **encapsulation));
    let more = kinds.iter().skip(MAX_KINDS).fold(0_u64, |sum, (_, count)| sum.saturating_add(**count));
    let mut list: Vec<String> = kinds
        .iter()
        .take(MAX_KINDS)
        .map(|(encapsulation, count)| format!("{count} {encapsulation}"))
        .collect();
    if more > 0 {
        list.push(format!("{more} others"));
    }
    list
}

/// Returns the result of the command.
fn result_of(tally: &Tally) -> Result<(), Failure> {
    let Tally { connections, decoded, errors, evicted } = tally;
    if *evicted > 0 {
        stderr::print_line(format_args!(
            "warning: {evicted} connections were ended early, because there are too many connections at a time, or too many of \
             their bytes are missing; select connections with --port"
        ));
    }
    match (decoded, errors) {
        (0, _) => Err(Failure::failed(format!(
            "it contains no connection with Broker's protocol, the WebSocket API or ZeroMQ; connections: {connections}; the output names the protocol of each"
        ))),
        (_, 0) => Ok(()),
        (_, errors) => Err(Failure::failed(format!(
            "not everything could be read: {errors} errors, listed in the output, in {decoded} of {connections} connections"
        ))),
    }
}
