//! All connections of a capture.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::connection::Connection;
use super::link::Segment;
use super::report::Report;
use crate::output::Failure;

/// How many connections are known at a time. Above, those that are closed, and then those that were silent for longest,
/// are ended; should they go on, they are taken for others, of which the beginning was not seen.
const MAX_CONNECTIONS: usize = 65_536;

/// How many bytes of all connections together wait for others. Above, the connection that holds most is ended.
const MAX_HELD: usize = 256 * 1024 * 1024;

pub(super) struct Table {
    connections: HashMap<(SocketAddr, SocketAddr), Connection>,
    /// How many there may be.
    most: usize,
    held: usize,
    /// How much that may be.
    most_held: usize,
    packets: u64,
    pub(super) tally: Tally,
}

/// What came of it all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many connections there were.
    pub(super) connections: u64,
    /// How many of them speak Broker's protocol.
    pub(super) broker: u64,
    pub(super) errors: u64,
    /// How many of them had to be ended early, for what they held or for their number.
    pub(super) given_up: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self::of(MAX_CONNECTIONS, MAX_HELD)
    }
}

impl Table {
    /// A table for so many connections, and so many bytes that wait.
    pub(super) fn of(most: usize, most_held: usize) -> Self {
        Table { connections: HashMap::new(), most, held: 0, most_held, packets: 0, tally: Tally::default() }
    }

    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        t_ns: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        let key = (segment.from.min(segment.to), segment.from.max(segment.to));
        self.packets = self.packets.saturating_add(1);
        let (mut reuse, mut known) = (0u64, false);
        if let Some(there) = self.connections.get_mut(&key) {
            known = true;
            if there.is_over_with(segment) {
                reuse = there.reuse.saturating_add(1);
                known = false;
            }
        }
        if !known {
            let begins = segment.syn || !segment.payload.is_empty() || segment.cut > 0;
            if !begins {
                return Ok(());
            }
            if reuse > 0 {
                self.end(&key, report)?;
            } else if self.connections.len() >= self.most {
                self.make_room(report)?;
            }
            self.tally.connections = self.tally.connections.saturating_add(1);
            let connection = Connection::new(segment, t_ns, self.tally.connections, reuse);
            self.connections.insert(key, connection);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return Ok(()) };
        connection.last = self.packets;
        let (before, open) = (connection.cost(), !connection.closed);
        let result = connection.segment(segment, t_ns, report);
        self.held = self.held.saturating_add(connection.cost()).saturating_sub(before);
        if open && connection.closed {
            self.tally.add(connection);
        }
        if self.held > self.most_held {
            self.give_up_largest(report)?;
        }
        result
    }

    /// Takes that the capture is at its end.
    pub(super) fn finish(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        let mut keys: Vec<_> =
            self.connections.iter().map(|(key, connection)| (connection.number(), *key)).collect();
        keys.sort_unstable();
        keys.into_iter().try_for_each(|(_, key)| self.end(&key, report))
    }

    /// Ends a connection, and forgets it.
    fn end(&mut self, key: &(SocketAddr, SocketAddr), report: &mut dyn Report) -> Result<(), Failure> {
        let Some(mut connection) = self.connections.remove(key) else { return Ok(()) };
        self.held = self.held.saturating_sub(connection.cost());
        if connection.closed {
            return Ok(());
        }
        let result = connection.end(report);
        self.tally.add(&connection);
        result
    }

    fn give_up_largest(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        let largest = self.connections.iter().max_by_key(|(_, connection)| connection.cost());
        let Some(key) = largest.map(|(key, _)| *key) else { return Ok(()) };
        self.tally.given_up = self.tally.given_up.saturating_add(1);
        self.end(&key, report)
    }

    fn make_room(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        self.connections.retain(|_, connection| !connection.closed);
        let mut oldest: Vec<_> =
            self.connections.iter().map(|(key, connection)| (connection.last, *key)).collect();
        if oldest.len() < self.most / 2 {
            return Ok(());
        }
        oldest.sort_unstable();
        oldest.truncate(oldest.len() / 2);
        for (_, key) in oldest {
            self.tally.given_up = self.tally.given_up.saturating_add(1);
            self.end(&key, report)?;
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, connection: &Connection) {
        self.broker = self.broker.saturating_add(connection.is_broker().into());
        self.errors = self.errors.saturating_add(connection.errors());
    }
}
