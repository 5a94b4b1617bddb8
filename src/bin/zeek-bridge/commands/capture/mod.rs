//! Captures and recordings, read: link layer, IP, TCP, conversation, one file each.

mod connection;
mod file;
mod folder;
mod link;
mod report;
mod speech;
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

/// How to tell what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Each frame in a line of JSON.
    Frames,
    /// Each connection in a table.
    Tables,
    /// Each connection in a line of JSON.
    Objects,
}

/// Reads a capture, or the folder of a recording, by what it is.
pub(crate) fn run(path: &Path, ports: &[u16], style: Style) -> Result<(), Failure> {
    if path.is_dir() {
        if !ports.is_empty() {
            return Err(Failure::usage("--port is for captures: a recording does not tell ports"));
        }
        let shown = shows(style, path).then(|| Progress::new(None, "frames"));
        let tally = with_report(style, |report| folder::read(path, report, shown))?;
        return judge(&tally);
    }
    let mut input = input::open(Some(path))?;
    if shows(style, path) {
        input = input.shown();
    }
    let mut looked = BytesMut::new();
    while looked.len() < 4 && input.read_some(&mut looked)? > 0 {}
    if looked.starts_with(&[0x1f, 0x8b]) {
        return Err(Failure::failed(format!(
            "{} is compressed: gunzip -c FILE | zeek-bridge decode -",
            input.name()
        )));
    }
    if !is_capture(&looked) {
        return Err(Failure::failed(format!(
            "{} is no capture of tcpdump or Wireshark (pcap, pcapng), and no folder of a recording; say with --value, \
             --envelope or --stream what else it is",
            input.name()
        )));
    }
    with_report(style, |report| capture(input, looked, ports, report))
}

/// Whether to show how far the reading is. Lines that come by are progress enough; connections are told of at their end.
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

fn capture(input: Input, looked: BytesMut, ports: &[u16], report: &mut dyn Report) -> Result<(), Failure> {
    let mut packets = Packets::new(input, looked);
    let mut table = Table::default();
    let mut passed = Passed::default();
    let read = loop {
        let packet = match packets.next(&mut || report.pause()) {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        passed.packets = passed.packets.saturating_add(1);
        let count = match link::segment(packet.link, packet.data) {
            Found::Segment(segment) => {
                passed.segments = passed.segments.saturating_add(1);
                let wanted = |port| ports.is_empty() || ports.contains(&port);
                if wanted(segment.from.port()) || wanted(segment.to.port()) {
                    table.segment(&segment, packet.t_ns, report)?;
                }
                continue;
            }
            Found::UnknownLink => {
                // A file may have thousands of interfaces.
                if passed.links.len() < 16 && passed.links.insert(packet.link) {
                    stderr::print_line(format_args!("warning: {}", link::unknown(packet.link)));
                }
                passed.add(Encapsulation::Link(packet.link));
                continue;
            }
            Found::Fragment => &mut passed.fragments,
            Found::Stump => &mut passed.stumps,
            Found::Other(encapsulation) => {
                passed.add(encapsulation);
                continue;
            }
        };
        *count = count.saturating_add(1);
    };
    table.finish(report)?;
    report.pause()?;
    passed.tell();
    read?;
    if table.tally.connections == 0 {
        let ports = if ports.is_empty() { "" } else { " of the ports given" };
        return Err(Failure::failed(format!(
            "no TCP connection{ports} in it: {}; is it of the right interface?",
            passed.counts()
        )));
    }
    judge(&table.tally)
}

/// What of a capture was passed over.
#[derive(Default)]
struct Passed {
    packets: u64,
    segments: u64,
    fragments: u64,
    stumps: u64,
    links: BTreeSet<i32>,
    others: BTreeMap<Encapsulation, u64>,
}

/// How many kinds of packets are named in a message.
const NAMED: usize = 8;

impl Passed {
    fn add(&mut self, encapsulation: Encapsulation) {
        // Numbers of at most 16 bits tell them apart, which bounds the map to a few megabytes.
        let count = self.others.entry(encapsulation).or_default();
        *count = count.saturating_add(1);
    }

    /// What the packets were, such as `123 packets: 120 GRE, 3 PPPoE`.
    fn counts(&self) -> String {
        let packets = self.packets;
        let mut kinds = list(self.others.iter());
        let counted = [(self.fragments, "IP fragments"), (self.stumps, "TCP without the complete header")];
        for (count, name) in counted.into_iter().filter(|(count, _)| *count > 0) {
            kinds.insert(0, format!("{count} {name}"));
        }
        if self.segments > 0 || packets == 0 || kinds.is_empty() {
            kinds.insert(0, format!("{} TCP", self.segments));
        }
        format!("{packets} packets: {}", kinds.join(", "))
    }

    fn tell(&self) {
        let tunnels = list(self.others.iter().filter(|(encapsulation, _)| encapsulation.is_tunnel()));
        if !tunnels.is_empty() {
            stderr::print_line(format_args!(
                "warning: packets whose encapsulation is not read: {}; capture where they are plain IP, or remove the outer \
                 headers first",
                tunnels.join(", ")
            ));
        }
        if self.fragments > 0 {
            stderr::print_line(format_args!(
                "warning: {} packets were sent in fragments, which are not put together: what they hold is missing",
                self.fragments
            ));
        }
        if self.stumps > 0 {
            stderr::print_line(format_args!(
                "warning: of {} packets not even the TCP header was captured; capture them whole with tcpdump -s 0",
                self.stumps
            ));
        }
    }
}

/// The most frequent kinds first.
fn list<'a>(kinds: impl Iterator<Item = (&'a Encapsulation, &'a u64)>) -> Vec<String> {
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort_by_key(|(encapsulation, count)| (std::cmp::Reverse(**count), **encapsulation));
    let more = kinds.iter().skip(NAMED).fold(0_u64, |sum, (_, count)| sum.saturating_add(**count));
    let mut list: Vec<String> =
        kinds.iter().take(NAMED).map(|(encapsulation, count)| format!("{count} {encapsulation}")).collect();
    if more > 0 {
        list.push(format!("{more} others"));
    }
    list
}

/// How it went as a whole.
fn judge(tally: &Tally) -> Result<(), Failure> {
    let Tally { connections, broker, errors, given_up } = tally;
    if *given_up > 0 {
        stderr::print_line(format_args!(
            "warning: {given_up} connections were ended early, for there were more, or more was missing of them, than \
             is kept at a time; select those that matter with --port"
        ));
    }
    match (broker, errors) {
        (0, _) => Err(Failure::failed(format!(
            "nothing of Broker's protocol can be read in it; connections: {connections}, and of each that says \
             anything is told what it is instead"
        ))),
        (_, 0) => Ok(()),
        (_, errors) => Err(Failure::failed(format!(
            "not all of it could be read; errors, each told where it is: {errors}, in {broker} of {connections} \
             connections"
        ))),
    }
}
